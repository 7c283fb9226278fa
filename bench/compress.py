#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of bench/compress.cpp: the same compressions of the same vector in PyTorch, on one thread.

Protocol, one line each, so that the other program can take turns with this one:
  stdin                        stdout
                               torch <version>
  load <file of fp32>          ready <values>
  use <method> [numbers]       ready <variant>       (of several ways to write it, the fastest here)
  run                          <seconds to encode and to decode_add once>
  quit
"""
import math
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy
import torch

torch.set_num_threads(1)
torch.set_grad_enabled(False)


class Vector:
    """x is what is encoded, out what decoded values are added to."""

    def __init__(self, path):
        self.x = torch.from_numpy(numpy.fromfile(path, dtype=numpy.float32))
        self.n = self.x.numel()
        self.out = torch.zeros(self.n)


def cast(v, name):
    kind = getattr(torch, name)

    def converted():
        v.out.add_(v.x.to(kind).to(torch.float32))

    def promoted():
        v.out.add_(v.x.to(kind))

    return [converted] if name.startswith("float8") else [converted, promoted]


def adders(v):
    """Ways to add values at distinct indices."""

    def index_add(i, values):
        v.out.index_add_(0, i, values)

    def scatter_add(i, values):
        v.out.scatter_add_(0, i, values)

    def index_put(i, values):
        v.out[i] += values

    return [index_add, scatter_add, index_put]


def top_k(v, ratio):
    k = math.ceil(float(ratio) * v.n)

    def with_adder(add):
        def whole():
            i = torch.topk(v.x.abs(), k, sorted=False).indices
            add(i, v.x[i])

        return whole

    return [with_adder(add) for add in adders(v)]


def above(v, t):
    return (v.x.abs() >= t).nonzero().squeeze(1)


def sampled_threshold(v, ratio):
    count = max(int(0.01 * v.n), 1600)
    sample = v.x[torch.randint(v.n, (count,))].abs()
    return sample.topk(math.ceil(float(ratio) * count), sorted=False).values.min()


def threshold(v, value):
    def with_adder(add):
        def whole():
            i = above(v, float(value))
            add(i, v.x[i])

        return whole

    return [with_adder(add) for add in adders(v)]


def sampled_top_k(v, ratio):
    def with_adder(add):
        def whole():
            i = above(v, sampled_threshold(v, ratio))
            add(i, v.x[i])

        return whole

    return [with_adder(add) for add in adders(v)] + top_k(v, ratio)


def dragonn(v, ratio):
    slots = 4 * math.ceil(float(ratio) * v.n)

    def with_adder(add):
        def whole():
            i = above(v, sampled_threshold(v, ratio))
            table = torch.full((slots,), -1, dtype=torch.int64)
            table[(i * 2654435761 & 0xFFFFFFFF) % slots] = i
            i = table[table >= 0]
            add(i, v.x[i])

        return whole

    return [with_adder(add) for add in adders(v)]


def random_k(v, ratio):
    k = math.ceil(float(ratio) * v.n)

    def with_adder(add):
        def whole():
            each = v.n // k  # one of each stretch: distinct
            i = torch.arange(0, k * each, each) + torch.randint(each, (k,))
            add(i, v.x[i])

        return whole

    return [with_adder(add) for add in adders(v)]


BITS = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)
ALL_SIGNS = ((torch.arange(256, dtype=torch.uint8).unsqueeze(1) & BITS) != 0).float() * 2 - 1


def packed(bits):
    """One bit a value: 8 in a byte."""
    return (bits.view(-1, 8).to(torch.uint8) * BITS).sum(1, dtype=torch.uint8)


def sign(v):
    def encode():
        return v.x.abs().mean(), packed(v.x >= 0)

    def by_table():
        scale, wire = encode()
        v.out.view(-1, 8).add_(ALL_SIGNS[wire.to(torch.int64)], alpha=scale.item())

    def by_bits():
        scale, wire = encode()
        v.out.view(-1, 8).add_(((wire.unsqueeze(1) & BITS) != 0).float().mul_(2).sub_(1), alpha=scale.item())

    return [by_table, by_bits]


def one_bit(v, columns):
    x = v.x.view(-1, int(columns))

    def encode():
        high = x >= 0
        count = high.sum(0)
        up = x.clamp(min=0).sum(0) / count
        down = x.clamp(max=0).sum(0) / (x.shape[0] - count)
        return up, down, packed(high.view(-1))

    def by_table():
        up, down, wire = encode()
        signs = ALL_SIGNS[wire.to(torch.int64)].view_as(x)
        v.out.view_as(x).add_(signs * ((up - down) / 2) + (up + down) / 2)

    def by_bits():
        up, down, wire = encode()
        high = ((wire.unsqueeze(1) & BITS) != 0).view_as(x)
        v.out.view_as(x).add_(torch.where(high, up, down))

    return [by_table, by_bits]


PLACES = torch.tensor([1, 4, 16, 64], dtype=torch.uint8)
ALL_TRITS = ((torch.arange(256, dtype=torch.uint8).unsqueeze(1) // PLACES) % 4).float() - 1


def terngrad(v):
    def encode():
        limit = 2.5 * v.x.square().mean().sqrt()
        clipped = v.x.clamp(-limit, limit)
        scale = clipped.abs().max()
        codes = (clipped.div_(scale).add_(torch.rand(v.n))).floor_().add_(1).to(torch.uint8)  # floor(x + u) is -1, 0 or 1 with the right chances
        return scale, (codes.view(-1, 4) * PLACES).sum(1, dtype=torch.uint8)

    def by_table():
        scale, wire = encode()
        v.out.view(-1, 4).add_(ALL_TRITS[wire.to(torch.int64)], alpha=scale.item())

    def by_shifts():
        scale, wire = encode()
        v.out.view(-1, 4).add_(((wire.unsqueeze(1) // PLACES) & 3).float().sub_(1), alpha=scale.item())

    return [by_table, by_shifts]


def qsgd(v, levels, bucket):
    s, x = int(levels), v.x.view(-1, int(bucket))

    def whole():  # a byte a value: packed tighter it would take longer still
        step = x.norm(dim=1, keepdim=True) / s
        wire = (x / step).add_(torch.rand_like(x)).floor_().to(torch.int8)
        v.out.view_as(x).add_(wire * step)

    return [whole]


def natural(v):
    def whole():  # the sign and the exponent, rounded at random: a byte a value
        mantissa, exponent = torch.frexp(v.x)
        exponent = exponent + (mantissa.abs().mul_(2).sub_(1) > torch.rand(v.n)) - 1
        wire = (exponent.clamp_(-63, 63) + 64).to(torch.uint8) | ((v.x < 0).to(torch.uint8) << 7)
        value = torch.exp2((wire & 127).float() - 64)
        v.out.add_(torch.where(wire > 127, -value, value))

    return [whole]


def block_float8(v, block):
    x = v.x.view(-1, int(block))

    def whole():
        scale = x.abs().amax(dim=1, keepdim=True) / 448
        wire = (x / scale).to(torch.float8_e4m3fn)
        v.out.view_as(x).add_(wire.to(torch.float32) * scale)

    return [whole]


def power_sgd(v, columns, rank):
    x = v.x.view(-1, int(columns))
    q = torch.randn(int(columns), int(rank))
    residual = torch.zeros_like(x)

    def whole():  # with the residual and the warm start that belong to the method
        m = x + residual
        p = torch.linalg.qr(m @ q).Q
        q.copy_(m.t() @ p)
        decoded = p @ q.t()
        torch.sub(m, decoded, out=residual)
        v.out.view_as(x).add_(decoded)

    return [whole]


METHODS = dict(
    cast=cast, top_k=top_k, threshold=threshold, sampled_top_k=sampled_top_k, dragonn=dragonn, random_k=random_k, sign=sign, one_bit=one_bit,
    terngrad=terngrad, qsgd=qsgd, natural=natural, block_float8=block_float8, power_sgd=power_sgd,
)


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main():
    print("torch", torch.__version__, flush=True)
    vector = work = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "quit":
            return
        if words[0] == "load":
            vector = Vector(words[1])
            answer = f"ready {vector.n}"
        elif words[0] == "use":
            variants = METHODS[words[1]](vector, *words[2:])
            for variant in variants:
                variant()
            work = min(variants, key=lambda w: min(seconds(w), seconds(w)))
            answer = f"ready {work.__name__}"
        else:
            answer = f"{seconds(work):.9f}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
