#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of bench/step.cpp: a GPT-2 training step in PyTorch, one thread a process.

Protocol, one line each, so that the other program can take turns with this one:
  stdin                      stdout
                             torch <version>
  model <small|gpt2>         ready <parameters>
  run <steps>                <seconds of each step, separated by spaces>
  quit
`--clock cpu` counts the process's processor time, for machines that have other work. With `--ranks N` the same protocol drives N processes under DistributedDataParallel on gloo (rank 0 speaks); a
step then takes N times the samples.
"""
import argparse
import math
import os
import sys
import time

if "avx512f" in open("/proc/cpuinfo").read():
    os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")  # Debian's OpenBLAS takes newer processors for an old one
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
import torch.nn.functional as F
from torch import nn

CLOCK = time.perf_counter

MODELS = {
    "small": dict(layers=4, heads=4, width=128, context=64, batch=12, vocabulary=65),
    "small_half": dict(layers=4, heads=4, width=128, context=64, batch=6, vocabulary=65),
    "gpt2": dict(layers=12, heads=12, width=768, context=64, batch=4, vocabulary=50257),
}


class Block(nn.Module):
    def __init__(self, heads, width, layers):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for linear in (self.qkv, self.project, self.up, self.down):
            deep = linear in (self.project, self.down)
            nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * layers) if deep else 0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, layers, heads, width, context, vocabulary, **_):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(heads, width, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs, targets):
        x = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def adamw(parameters):
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    try:
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    except (RuntimeError, TypeError):  # older versions have no fused form for the processor
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), foreach=True)


class Run:
    def __init__(self, name, ranks):
        sizes = MODELS[name]
        torch.manual_seed(1)
        self.model = GPT(**sizes)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.shape = (sizes["batch"], sizes["context"])
        self.vocabulary = sizes["vocabulary"]
        if ranks > 1:
            self.model = nn.parallel.DistributedDataParallel(self.model, gradient_as_bucket_view=True)
        self.optimizer = adamw(self.model.parameters())

    def step(self):
        data = torch.randint(self.vocabulary, (self.shape[0], self.shape[1] + 1))
        inputs, targets = data[:, :-1].contiguous(), data[:, 1:].contiguous()
        begin = CLOCK()
        loss = self.model(inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return CLOCK() - begin


def serve(rank, ranks):
    """Rank 0 reads commands and tells them to the others."""
    torch.set_num_threads(1)
    if rank == 0:
        print("torch", torch.__version__, flush=True)
    run = None
    while True:
        command = [sys.stdin.readline().split() if rank == 0 else None]
        if ranks > 1:
            torch.distributed.broadcast_object_list(command)
        words = command[0]
        if not words or words[0] == "quit":
            return
        if words[0] == "model":
            run = Run(words[1], ranks)
            answer = f"ready {run.parameters}"
        else:
            answer = " ".join(f"{run.step():.9f}" for _ in range(int(words[1])))
        if rank == 0:
            print(answer, flush=True)


def serve_rank(rank, ranks, port):
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(port)
    if rank == 0:
        sys.stdin = open(0)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    serve(rank, ranks)
    torch.distributed.destroy_process_group()


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--ranks", type=int, default=1)
    options.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    arguments = options.parse_args()
    ranks = arguments.ranks
    if arguments.clock == "cpu":
        CLOCK = time.process_time
    if ranks == 1:
        serve(0, 1)
    else:
        import torch.multiprocessing as processes

        port = free_port()
        context = processes.get_context("spawn")
        others = [context.Process(target=serve_rank, args=(r, ranks, port)) for r in range(1, ranks)]
        for process in others:
            process.start()
        serve_rank(0, ranks, port)
        for process in others:
            process.join()
