# SPDX-License-Identifier: Apache-2.0
"""Compile time is a feature: holds the preprocessed size of each header against budgets.txt.

Counted are non-empty lines of `g++ -E -P`, which do not vary with the machine, only with the compiler and the libraries; the
budgets are those of Debian 12, elsewhere this test is skipped. A header that outgrew its budget for a good reason gets a new
one with `python3 tests/structure/budgets.py --update --config build/dev/tests/structure/config.json`: 15 % above its size.
"""

import pathlib
import sys

from common import CONFIG, SKIPPED, UPDATE, Compiler, arguments, finish, headers, side_by_side

FILE = pathlib.Path(__file__).parent / "budgets.txt"
SLACK = 1.15


def is_debian_12(compiler):
    release = pathlib.Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    return "ID=debian" in text and 'VERSION_ID="12"' in text and " 12." in compiler.version.splitlines()[0]


def main():
    options = arguments(__doc__, CONFIG, UPDATE)
    compiler = Compiler("g++", options.config)
    if not is_debian_12(compiler) or not {"mpi", "onednn", "zlib"} <= compiler.parts:
        print("budgets hold for g++ 12 of Debian 12 with MPI, oneDNN and zlib: skipped")
        return SKIPPED
    everything = headers() + headers("*.cuh")
    names = [h for h in everything if compiler.supports(h)]

    def size(header):
        succeeded, output = compiler.run(compiler.part_flags + ["-E", "-P"], f"#include <{header}>\n", [header])
        return sum(1 for line in output.splitlines() if line.strip()) if succeeded else 0

    sizes = dict(zip(names, side_by_side(size, names)))
    if options.update:
        lines = [f"{name} {int(count * SLACK) // 100 * 100 + 100}\n" for name, count in sizes.items()]
        FILE.write_text("# header, and the preprocessed lines it may have; written by budgets.py --update\n" + "".join(lines))
        print(f"{len(lines)} budgets written")
        return 0
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    budgets = {name: int(count) for name, count in (line.split() for line in lines if line and not line.startswith("#"))}
    problems = [f"{n}: {c} preprocessed lines, its budget is {budgets[n]}" for n, c in sizes.items() if n in budgets and c > budgets[n]]
    problems += [f"{n}: no budget (budgets.py --update gives it one)" for n in sizes if n not in budgets]
    problems += [f"{n}: has a budget but does not exist" for n in budgets if n not in everything]
    largest = max(sizes, key=sizes.get)
    return finish(problems, f"{len(sizes)} headers within budget; the largest is {largest} with {sizes[largest]} lines")


if __name__ == "__main__":
    sys.exit(main())
