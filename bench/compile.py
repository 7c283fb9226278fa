# SPDX-License-Identifier: Apache-2.0
"""Driven by bench/compile.sh: measures compilations one at a time."""

import os
import pathlib
import shutil
import subprocess
import time

ROOT = pathlib.Path(os.environ["ENTRAIN_SOURCE_DIR"])
TRIES = 3


def compile_once(arguments):
    """(seconds, peak MiB of the largest process) of one compilation; None if it fails."""
    begin = time.monotonic()
    child = subprocess.Popen(["g++", "-std=c++20", *arguments], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    # wait4 on the driver reports the largest of its children, here cc1plus.
    child.returncode = os.waitstatus_to_exitcode(status)
    return (time.monotonic() - begin, usage.ru_maxrss / 1024) if child.returncode == 0 else None


def best(runs):
    runs = [run for run in runs if run]
    return (min(run[0] for run in runs), min(run[1] for run in runs)) if runs else None


def show(name, figures):
    print(f"{name:<48} {figures[0]:7.2f} s {figures[1]:8.0f} MiB" if figures else f"{name:<48} does not compile here")


def our_flags():
    flags = ["-I", str(ROOT / "include"), "-pthread"]
    for part, header in {"MPI": "mpi.h", "ONEDNN": "/usr/include/dnnl.hpp", "ZLIB": "/usr/include/zlib.h"}.items():
        if part == "MPI" and shutil.which("mpicxx"):
            shown = subprocess.run(["mpicxx", "--showme:compile"], capture_output=True, text=True).stdout.split()
            flags += ["-DENTRAIN_WITH_MPI=1", *shown]
        elif os.path.exists(header):
            flags += [f"-DENTRAIN_WITH_{part}=1"] + (["-fopenmp"] if part == "ONEDNN" else [])
    return flags


def libtorch_flags():
    root = pathlib.Path(os.environ.get("ENTRAIN_LIBTORCH", "/usr")) / "include"
    folders = [root, root / "torch/csrc/api/include"] if root != pathlib.Path("/usr/include") else [root / "torch/csrc/api/include"]
    return [flag for folder in folders for flag in ("-isystem" if str(folder) != "/usr/include" else "-I", str(folder))]


def main():
    ours, theirs = our_flags(), libtorch_flags()
    program = ["-O2", "-c", "-o", "/dev/null"]
    quickstart, peer = [], []
    for _ in range(TRIES):  # interleaved, so that a slow spell of the machine meets both
        quickstart.append(compile_once([*program, *ours, str(ROOT / "examples/quickstart.cpp")]))
        peer.append(compile_once([*program, *theirs, str(ROOT / "bench/compile_libtorch.cpp")]))
    quickstart, peer = best(quickstart), best(peer)

    print("each header alone (-fsyntax-only)")
    for header in sorted((ROOT / "include").rglob("*.hpp")):
        name = str(header.relative_to(ROOT / "include"))
        show("  " + name, compile_once(["-fsyntax-only", *ours, "-include", name, "-x", "c++", os.devnull]))
    print("programs (-O2, best of three)")
    show("  examples/quickstart.cpp", quickstart)
    show("  bench/compile_libtorch.cpp", peer)
    if quickstart:
        print(f"value quickstart_compile_seconds {quickstart[0]:.2f}\nvalue quickstart_compile_mib {quickstart[1]:.0f}")
    if quickstart and peer:
        print(f"ratio compile_time {peer[0] / quickstart[0]:.2f}\nratio compile_memory {peer[1] / quickstart[1]:.2f}")


if __name__ == "__main__":
    main()
