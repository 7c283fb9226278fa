# SPDX-License-Identifier: Apache-2.0
"""Writes the public weights files of tests/checkpoint/test_public_weights.cpp: a tiny GPT-2, by nothing but struct and json.

    python3 tests/checkpoint/make_public_weights.py        (writes tests/checkpoint/public/)

model.safetensors   F32, prefix "transformer.", causal masks, lm_head.weight repeated: as the oldest public files
sharded/            the same weights in F16 and BF16, in two files with an index, without prefix, masks and lm_head
transposed.safetensors   F32, without prefix, the four matrices of a block as [outputs, inputs]

Each file's metadata hold "loss", the mean loss of a fixed batch, computed here in double precision from the values as stored.
"""

import json
import math
import pathlib
import random
import struct

HERE = pathlib.Path(__file__).parent / "public"
LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 1, 2, 8, 4, 11
INPUTS = [[1, 5, 9, 2], [10, 0, 3, 3]]
TARGETS = [[5, 9, 2, 7], [0, 3, 3, 8]]
MATRICES = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def bf16(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


ENCODE = {"F32": lambda v: struct.pack("<f", v), "F16": lambda v: struct.pack("<e", v), "BF16": lambda v: struct.pack("<H", bf16(v)), "U8": lambda v: struct.pack("<B", int(v))}
DECODE = {"F32": lambda b: struct.unpack("<f", b)[0], "F16": lambda b: struct.unpack("<e", b)[0],
          "BF16": lambda b: struct.unpack("<f", b"\0\0" + b)[0]}


def weights():
    draw = random.Random(2019)
    normal = lambda dims, mean=0.0, deviation=0.5: (dims, [draw.gauss(mean, deviation) for _ in range(math.prod(dims))])
    out = {"wte.weight": normal([VOCABULARY, WIDTH]), "wpe.weight": normal([CONTEXT, WIDTH])}
    norm = lambda name: out.update({name + ".weight": normal([WIDTH], 1.0, 0.2), name + ".bias": normal([WIDTH], 0.0, 0.2)})
    project = lambda name, inputs, outputs: out.update({name + ".weight": normal([inputs, outputs]), name + ".bias": normal([outputs])})
    for i in range(LAYERS):
        norm(f"h.{i}.ln_1")
        project(f"h.{i}.attn.c_attn", WIDTH, 3 * WIDTH)
        project(f"h.{i}.attn.c_proj", WIDTH, WIDTH)
        norm(f"h.{i}.ln_2")
        project(f"h.{i}.mlp.c_fc", WIDTH, 4 * WIDTH)
        project(f"h.{i}.mlp.c_proj", 4 * WIDTH, WIDTH)
    norm("ln_f")
    return out


def stored(tensors, type_of):
    """Values as a file of these types gives them back."""
    return {name: (dims, [DECODE[type_of(name)](ENCODE[type_of(name)](v)) for v in values]) for name, (dims, values) in tensors.items()}


# ---- the model, in double precision ----------------------------------------------------------------------------------

def layer_norm(x, w, name):
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    gain, bias = w[name + ".weight"][1], w[name + ".bias"][1]
    return [(v - mean) / math.sqrt(variance + 1e-5) * g + b for v, g, b in zip(x, gain, bias)]


def linear(x, w, name):
    (inputs, outputs), matrix = w[name + ".weight"]
    return [sum(x[i] * matrix[i * outputs + o] for i in range(inputs)) + b for o, b in enumerate(w[name + ".bias"][1])]


def softmax(x):
    high = max(x)
    powers = [math.exp(v - high) for v in x]
    return [p / sum(powers) for p in powers]


def attention(rows, w, name):
    qkv = [linear(x, w, name + ".c_attn") for x in rows]
    size = WIDTH // HEADS
    out = []
    for t in range(len(rows)):
        joined = []
        for h in range(HEADS):
            part = lambda u, which: qkv[u][which * WIDTH + h * size:which * WIDTH + (h + 1) * size]
            scores = softmax([sum(a * b for a, b in zip(part(t, 0), part(u, 1))) / math.sqrt(size) for u in range(t + 1)])
            joined += [sum(s * part(u, 2)[i] for u, s in enumerate(scores)) for i in range(size)]
        out.append(linear(joined, w, name + ".c_proj"))
    return out


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def add(rows, others):
    return [[a + b for a, b in zip(x, y)] for x, y in zip(rows, others)]


def loss(w):
    total = 0.0
    table = [w["wte.weight"][1][v * WIDTH:(v + 1) * WIDTH] for v in range(VOCABULARY)]
    places = [w["wpe.weight"][1][t * WIDTH:(t + 1) * WIDTH] for t in range(CONTEXT)]
    for inputs, targets in zip(INPUTS, TARGETS):
        rows = add([table[token] for token in inputs], places)
        for i in range(LAYERS):
            rows = add(rows, attention([layer_norm(x, w, f"h.{i}.ln_1") for x in rows], w, f"h.{i}.attn"))
            hidden = [[gelu(v) for v in linear(layer_norm(x, w, f"h.{i}.ln_2"), w, f"h.{i}.mlp.c_fc")] for x in rows]
            rows = add(rows, [linear(x, w, f"h.{i}.mlp.c_proj") for x in hidden])
        for x, target in zip(rows, targets):
            x = layer_norm(x, w, "ln_f")
            logits = [sum(a * b for a, b in zip(x, row)) for row in table]
            total -= math.log(softmax(logits)[target])
    return total / sum(map(len, TARGETS))


# ---- the files -------------------------------------------------------------------------------------------------------

def write(path, tensors, type_of, value):
    header, data = {"__metadata__": {"format": "pt", "loss": f"{value:.15g}"}}, b""
    for name, (dims, values) in tensors.items():
        raw = b"".join(map(ENCODE[type_of(name)], values))
        header[name] = {"dtype": type_of(name), "shape": dims, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def transpose(name, tensor):
    dims, values = tensor
    if not name.endswith(MATRICES):
        return tensor
    rows, columns = dims
    return [columns, rows], [values[r * columns + c] for c in range(columns) for r in range(rows)]


def main():
    w = weights()
    single = lambda name: "U8" if name.endswith("attn.bias") and "c_attn" not in name else "F32"
    value = loss(stored(w, single))
    old = {"transformer." + name: tensor for name, tensor in w.items()}
    for i in range(LAYERS):
        old[f"transformer.h.{i}.attn.bias"] = [1, 1, CONTEXT, CONTEXT], [c <= r for r in range(CONTEXT) for c in range(CONTEXT)]
        old[f"transformer.h.{i}.attn.masked_bias"] = [], [-1e4]
    old["lm_head.weight"] = w["wte.weight"]
    write(HERE / "model.safetensors", old, single, value)
    write(HERE / "transposed.safetensors", {name: transpose(name, tensor) for name, tensor in w.items()}, single, value)

    half = lambda name: "F16" if name.startswith("h.") else "BF16"
    value = loss(stored(w, half))
    files = {f"model-0000{n}-of-00002.safetensors": {name: t for name, t in w.items() if ("mlp" in name or "ln_f" in name) == (n == 2)} for n in (1, 2)}
    for name, tensors in files.items():
        write(HERE / "sharded" / name, tensors, half, value)
    total = sum(2 * len(values) for _, values in w.values())
    weight_map = {name: file for file, tensors in files.items() for name in tensors}
    (HERE / "sharded" / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1) + "\n")


main()
