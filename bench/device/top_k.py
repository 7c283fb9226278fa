#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of the selections of bench/device/compress.cu: torch.topk of 16 M magnitudes, the largest hundredth.

  top_k.py [--against PROGRAM]    PROGRAM: the compiled compress.cu, which takes turns with this one on the card

torch.topk is given magnitudes, sorted or not as is faster; what else a compression by it needs (magnitudes, the values chosen) is timed
beside it and does not count.
"""
import argparse
import math
import time

import torch

from turns import Program, median, report


class Clock:
    """Times on the card, by events behind a copy that empties its cache; on the host for --check."""

    def __init__(self, device, copied):
        self.device = device
        self.copied, self.copy = torch.ones(copied, device=device), torch.empty(copied, device=device)

    def seconds(self, calls):
        self.copy.copy_(self.copied)
        if self.device == "cpu":
            begin = time.perf_counter()
            for call in calls:
                call()
            return (time.perf_counter() - begin) / len(calls)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / len(calls)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="few values, also without a GPU: shows that all of it runs")
    given = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.check:
        parser.exit(77, "PyTorch sees no GPU: skipped\n")
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    n, sets = (5000, 2) if given.check else (1 << 24, 8)
    k = math.ceil(0.01 * n)
    values = [torch.randn(n, device=device) * 1e-3 for _ in range(sets)]
    magnitudes = [v.abs() for v in values]
    clock = Clock(device, 1 << 14 if given.check else 1 << 29)

    def whole(v):
        chosen = torch.topk(v.abs(), k, sorted=False).indices
        return chosen, v[chosen]

    ways = {
        "torch_topk": [lambda m=m: torch.topk(m, k, sorted=False) for m in magnitudes],
        "torch_topk_sorted": [lambda m=m: torch.topk(m, k) for m in magnitudes],
        "torch_topk_compression": [lambda v=v: whole(v) for v in values],
    }
    ours = Program(given.against, *(["--check"] if given.check else ["--rounds", "5"])) if given.against else None
    names = ("top_k", "sampled_top_k", "dragonn")
    times = {name: [] for name in (*ways, *names)}
    for round_ in range(-2, given.rounds):
        for name, calls in ways.items():
            s = clock.seconds(calls)
            if round_ >= 0:
                times[name].append(s)
        if ours and round_ >= 0:
            for name in names:
                times[name].append(ours.seconds(name))
    for name, found in times.items():
        if found:
            report("value", f"{name}_us", median(found) * 1e6)
    if ours:
        ours.quit()
        peer = min(median(times["torch_topk"]), median(times["torch_topk_sorted"]))
        for name in names:
            report("ratio", f"{name}_vs_torch_topk", peer / median(times[name]))


if __name__ == "__main__":
    main()
