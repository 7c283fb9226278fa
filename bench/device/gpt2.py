#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of bench/device/gpt2.cu: the same model, tokens and step in PyTorch: torch.compile, fused AdamW, scaled_dot_product_attention.

  gpt2.py [--against PROGRAM] [--batches N ...]    PROGRAM: the compiled gpt2.cu, which takes turns with this one on the card

In two ways, of which the faster counts: parameters in fp32 under bfloat16 autocast, and parameters in bfloat16 with copies in fp32 that
AdamW updates. The second is left out where compiling it would exceed --budget seconds in all.
"""
import argparse
import math
import time

BEGIN = time.monotonic()

import torch
import torch.nn as nn
import torch.nn.functional as F

from turns import Program, median, report

RATE, BETAS, DECAY = 6e-4, (0.9, 0.95), 0.1


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, context, vocabulary):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.register_buffer("places", torch.arange(context), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if "proj" in name else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, inputs, targets):
        x = self.wte(inputs) + self.wpe(self.places[: inputs.shape[1]])
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))


def tokens(batch, length, vocabulary, device):
    """Those of gpt2.cu."""
    mask = 0xFFFFFFFF
    x = torch.arange(batch * length + 1, dtype=torch.int64) * 2654435761 & mask
    x = (x ^ (x >> 15)) * 2246822519 & mask
    x = ((x ^ (x >> 13)) % min(vocabulary, 50257)).to(device)
    return x[:-1].view(batch, length), x[1:].view(batch, length)


def adamw(parameters, fused):
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY}, {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=1e-8, fused=fused)


class Autocast:
    """Parameters, gradients and AdamW in fp32; what autocast chooses in bfloat16."""

    def __init__(self, model, run, fused):
        self.run, self.device = run, next(model.parameters()).device.type
        self.optimizer = adamw(list(model.parameters()), fused)

    def step(self, inputs, targets):
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.run(inputs, targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


class Masters:
    """Parameters and gradients in bfloat16; AdamW updates copies in fp32, which are then rounded."""

    def __init__(self, model, run, fused):
        self.masters = [p.detach().clone() for p in model.parameters()]
        model.to(torch.bfloat16)
        self.parameters, self.run = list(model.parameters()), run
        for m in self.masters:
            m.grad = torch.zeros_like(m)
        self.gradients = [m.grad for m in self.masters]
        self.optimizer = adamw(self.masters, fused)

    @torch.no_grad()
    def update(self):
        torch._foreach_copy_(self.gradients, [p.grad for p in self.parameters])
        self.optimizer.step()
        torch._foreach_copy_(self.parameters, self.masters)
        for p in self.parameters:
            p.grad = None

    def step(self, inputs, targets):
        loss = self.run(inputs, targets)
        loss.backward()
        self.update()
        return loss


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of_steps(trained, data, steps, device):
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(steps):
        trained.step(*data)
    synchronise(device)
    return (time.perf_counter() - begin) / steps


def close(ours, theirs):
    """Both begin with other random numbers, but learn the same tokens."""
    return not ours or (abs(ours[0] - theirs[0]) < 0.1 and abs(ours[-1] - theirs[len(ours) - 1]) < 0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against")
    parser.add_argument("--batches", type=int, nargs="+", default=[32])
    parser.add_argument("--vocabulary", type=int, default=50304)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--budget", type=float, default=math.inf)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--check", action="store_true", help="the tiny model of gpt2 --check, also without a GPU: shows that all of it runs")
    given = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.check:
        parser.exit(77, "PyTorch sees no GPU: skipped\n")
    sizes = {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": given.vocabulary}
    first_steps = 10
    if given.check:
        sizes, given.batches, first_steps = {"layers": 1, "heads": 2, "width": 64, "context": 16, "vocabulary": 64}, [2], 6
    torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    print(f"torch {torch.__version__} on {name}")
    ours = Program(given.against, *(["--check"] if given.check else ["--vocabulary", str(given.vocabulary)])) if given.against else None

    model_name = "gpt2_tiny" if given.check else "gpt2_124m"
    good, cost = True, 0.0
    for batch in given.batches:
        data = tokens(batch, sizes["context"], sizes["vocabulary"], device)
        own_best, peer_best = math.inf, math.inf
        for way in (Autocast, Masters):
            began = time.monotonic()
            if cost > 0 and began - BEGIN + cost > given.budget:
                print(f"no time is left for {way.__name__} with a batch of {batch}: skipped")
                continue
            torch.manual_seed(1)
            torch.compiler.reset()
            model = Gpt(**sizes).to(device)
            run = model if given.eager else torch.compile(model)
            trained = way(model, run, device == "cuda")
            losses = [trained.step(*data).item() for _ in range(first_steps)]
            print(f"losses {way.__name__} " + " ".join(f"{x:.4f}" for x in losses), flush=True)
            own, peer = [], []
            for _ in range(given.rounds):
                if ours:
                    own.append(ours.seconds(f"{batch} {given.steps}"))
                peer.append(seconds_of_steps(trained, data, given.steps, device))
            if ours:
                own_best = min(own_best, median(own))
                good = good and close(ours.losses, losses)
                print("losses entrain " + " ".join(f"{x:.4f}" for x in ours.losses), flush=True)
            peer_best = min(peer_best, median(peer))
            report("value", f"torch_{model_name}_{way.__name__.lower()}_batch_{batch}_step_ms", median(peer) * 1e3)
            if device == "cuda":
                report("value", f"torch_{model_name}_{way.__name__.lower()}_batch_{batch}_memory_gib", torch.cuda.max_memory_reserved() / 2**30)
                torch.cuda.reset_peak_memory_stats()
            del trained, model, run
            if device == "cuda":
                torch.cuda.empty_cache()
            cost = max(cost, time.monotonic() - began)
        if math.isinf(peer_best):
            continue
        report("value", f"torch_{model_name}_batch_{batch}_tokens_per_second", batch * sizes["context"] / peer_best)
        if ours:
            report("value", f"{model_name}_batch_{batch}_tokens_per_second", batch * sizes["context"] / own_best)
            report("ratio", f"{model_name}_vs_torch_compiled" + ("" if batch == 32 else f"_batch_{batch}"), peer_best / own_best)
    if ours:
        ours.quit()
    if not good:
        parser.exit(1, "the losses of the two differ: at the beginning by more than 0.1, or later by more than 0.2\n")


if __name__ == "__main__":
    main()
