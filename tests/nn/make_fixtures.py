# SPDX-License-Identifier: Apache-2.0
"""Writes the reference values of tests/nn/test_parity.cpp with PyTorch, in double precision.

    python3 tests/nn/make_fixtures.py        (needs torch; writes tests/nn/fixtures/*.txt)

A file is a list of arrays, each a line "name dimension dimension ..." and a line of values. Inputs and first parameters are
rounded to float, so that both precisions begin at the same numbers.
"""

import pathlib

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent / "fixtures"
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(7)


def random(*dims, scale=1.0):
    return (torch.randn(*dims, generator=generator) * scale).float().double()


def write(name, arrays):
    lines = []
    for key, value in arrays.items():
        value = torch.as_tensor(value).detach().double()
        lines.append(" ".join([key, *map(str, value.shape)]))
        lines.append(" ".join(f"{v:.13g}" for v in value.flatten().tolist()))
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")


def layer(name, function, x, parameters):
    """One layer: its output, and the gradients of sum(output * dy) for a random dy."""
    x.requires_grad_()
    for p in parameters.values():
        p.requires_grad_()
    y = function(x, **{key.replace(".", "_"): p for key, p in parameters.items()})
    dy = random(*y.shape)
    y.backward(dy)
    arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    for key, p in parameters.items():
        arrays["parameter:" + key] = p
        arrays["gradient:" + key] = p.grad
    write(name, arrays)


def attention(x, c_attn_weight, c_attn_bias, c_proj_weight, c_proj_bias, heads=2):
    batch, length, width = x.shape
    qkv = (x @ c_attn_weight + c_attn_bias).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
    return y.transpose(1, 2).reshape(batch, length, width) @ c_proj_weight + c_proj_bias


def layers():
    affine = lambda n: {"weight": 1 + random(n, scale=0.2), "bias": random(n, scale=0.2)}
    for p in (pair := affine(6)).values():
        p.copy_(p.float().double())
    layer("linear", lambda x, weight, bias: x @ weight + bias, random(4, 5), {"weight": random(5, 3), "bias": random(3)})
    layer("convolution", lambda x, weight, bias: F.conv2d(x, weight, bias, stride=2, padding=1), random(3, 2, 6, 7),
          {"weight": random(4, 2, 3, 3), "bias": random(4)})
    layer("maximum_pooling", lambda x: F.max_pool2d(x, 2, 2), random(2, 2, 6, 7), {})
    layer("average_pooling", lambda x: F.avg_pool2d(x, 3, 1), random(2, 2, 5, 5), {})
    layer("layer_norm", lambda x, weight, bias: F.layer_norm(x, (6,), weight, bias), random(5, 6), pair)
    norm = {"weight": random(3), "bias": random(3)}
    layer("batch_norm", lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True), random(4, 3, 2, 5), norm)
    layer("relu", F.relu, random(4, 9), {})
    layer("gelu", lambda x: F.gelu(x, approximate="tanh"), random(4, 9, scale=2), {})
    layer("silu", F.silu, random(4, 9, scale=2), {})
    layer("tanh", torch.tanh, random(4, 9), {})
    layer("positional_embedding", lambda x, weight: x + weight, random(3, 4, 6), {"weight": random(4, 6)})
    layer("attention", attention, random(2, 7, 8),
          {"c_attn.weight": random(8, 24, scale=0.5), "c_attn.bias": random(24, scale=0.5), "c_proj.weight": random(8, 8, scale=0.5), "c_proj.bias": random(8)})


def mlp(p, x):
    return torch.tanh(x @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]


def cnn(p, x):
    for i in range(2):
        x = F.relu(F.max_pool2d(F.conv2d(x, p[f"conv.{i}.weight"], p[f"conv.{i}.bias"], padding=1), 2))
    return F.relu(x.flatten(1) @ p["fc.0.weight"] + p["fc.0.bias"]) @ p["fc.1.weight"] + p["fc.1.bias"]


def gpt(p, tokens, depth=2):
    x = p["wte.weight"][tokens] + p["wpe.weight"][: tokens.shape[1]]
    norm = lambda value, key: F.layer_norm(value, (value.shape[-1],), p[key + ".weight"], p[key + ".bias"])
    linear = lambda value, key: value @ p[key + ".weight"] + p[key + ".bias"]
    for i in range(depth):
        h = f"h.{i}."
        names = ("c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias")
        x = x + attention(norm(x, h + "ln_1"), *(p[h + "attn." + key] for key in names))
        x = x + linear(F.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh"), h + "mlp.c_proj")
    return (norm(x, "ln_f") @ p["wte.weight"].T).flatten(0, 1)


def gpt_parameters(width, context, vocabulary, depth=2):
    p = {"wte.weight": random(vocabulary, width, scale=0.3), "wpe.weight": random(context, width, scale=0.3)}
    for i in range(depth):
        h = f"h.{i}."
        for key, dims in (("ln_1.weight", (width,)), ("ln_1.bias", (width,)), ("attn.c_attn.weight", (width, 3 * width)), ("attn.c_attn.bias", (3 * width,)),
                          ("attn.c_proj.weight", (width, width)), ("attn.c_proj.bias", (width,)), ("ln_2.weight", (width,)), ("ln_2.bias", (width,)),
                          ("mlp.c_fc.weight", (width, 4 * width)), ("mlp.c_fc.bias", (4 * width,)), ("mlp.c_proj.weight", (4 * width, width)), ("mlp.c_proj.bias", (width,))):
            p[h + key] = random(*dims, scale=0.3)
    p["ln_f.weight"], p["ln_f.bias"] = random(width), random(width, scale=0.3)
    return p


def curves(name, model, first, inputs, targets):
    """Gradient of the summed loss at the start, then ten steps on one batch; weights of two or more dimensions decay, vectors do not."""
    arrays = {"inputs": inputs, "targets": targets}
    for key, value in first.items():
        arrays["parameter:" + key] = value
    for rule in ("sgd", "adamw"):
        p = {key: value.clone().requires_grad_() for key, value in first.items()}
        groups = [{"params": [v for v in p.values() if v.dim() > 1], "weight_decay": 0.1}, {"params": [v for v in p.values() if v.dim() == 1], "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True) if rule == "sgd" else torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
        losses = []
        for step in range(10):
            loss = F.cross_entropy(model(p, inputs), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            if step == 0 and rule == "sgd":
                for key, value in p.items():
                    arrays["gradient:" + key] = value.grad.clone() * targets.numel()
            optimizer.step()
            losses.append(loss.item())
        arrays["losses:" + rule] = losses
    write(name, arrays)


def models():
    integers = lambda n, *dims: torch.randint(n, dims, generator=generator)
    curves("model_mlp", mlp, {"0.weight": random(6, 5, scale=0.5), "0.bias": random(5, scale=0.5), "1.weight": random(5, 4, scale=0.5), "1.bias": random(4, scale=0.5)},
           random(8, 6), integers(4, 8))
    curves("model_cnn", cnn, {"conv.0.weight": random(3, 1, 3, 3, scale=0.4), "conv.0.bias": random(3, scale=0.1), "conv.1.weight": random(4, 3, 3, 3, scale=0.3),
                              "conv.1.bias": random(4, scale=0.1), "fc.0.weight": random(16, 6, scale=0.3), "fc.0.bias": random(6, scale=0.1),
                              "fc.1.weight": random(6, 4, scale=0.3), "fc.1.bias": random(4, scale=0.1)}, random(6, 1, 8, 8), integers(4, 6))
    curves("model_gpt", gpt, gpt_parameters(8, 6, 11), integers(11, 4, 6), integers(11, 4, 6))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    layers()
    models()
