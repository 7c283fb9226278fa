# SPDX-License-Identifier: Apache-2.0
"""Compiles each header alone with warnings as errors, or all of them in two translation units linked together.

headers.py [--compiler g++] [--config FILE] FOLDER...   each header of these folders (default: all of them), alone
headers.py --device                                     for sm_80 and sm_90 by nvcc: each .cuh alone, as code for the device; all of them together, whole
headers.py --together ...                               all of them in one translation unit: for compilers other than the first, to which it
                                                        must be acceptable, while that each stands alone has been seen already
headers.py --link ...                                   a definition that lacks `inline` shows up here
"""

import pathlib
import subprocess
import sys
import tempfile

from common import COMPILER, CONFIG, Compiler, arguments, digest, finish, headers, side_by_side


DEVICE_WARNINGS = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
BOTH = ["-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=sm_90"]


def in_folders(header, folders):
    return not folders or header.split("/")[1] in folders


def alone(compiler, header):
    warnings = [] if compiler.nvcc else Compiler.WARNINGS
    mode = ["-cuda", "-o", "/dev/null"] if compiler.nvcc else ["-fsyntax-only"]
    if header.endswith(".cuh"):
        warnings, mode = DEVICE_WARNINGS, ["--expt-relaxed-constexpr", "-fatbin", *BOTH, "-o", "/dev/null"]
    # Twice: a header without #pragma once shows up too.
    succeeded, output = compiler.run(warnings + compiler.part_flags + mode, f"#include <{header}>\n#include <{header}>\n", [header])
    return None if succeeded else f"{header} does not compile alone:\n{output}"


def together(compiler, names):
    warnings = [] if compiler.nvcc else Compiler.WARNINGS
    mode = ["-cuda", "-o", "/dev/null"] if compiler.nvcc else ["-fsyntax-only"]
    succeeded, output = compiler.run(warnings + compiler.part_flags + mode, "".join(f"#include <{name}>\n" for name in names), names)
    return [] if succeeded else [output]


def together_for_devices(compiler, names):
    """As the program for the host, too."""
    mode = ["--expt-relaxed-constexpr", "-c", *BOTH, "-o", "/dev/null"]
    succeeded, output = compiler.run(DEVICE_WARNINGS + compiler.part_flags + mode, "".join(f"#include <{name}>\n" for name in names), names)
    return [] if succeeded else [output]


def linked(compiler, names):
    text = "".join(f"#include <{name}>\n" for name in names)
    with tempfile.TemporaryDirectory() as folder:
        sources = [pathlib.Path(folder, "first.cpp"), pathlib.Path(folder, "second.cpp")]
        sources[0].write_text(text + "int second();\nint main() { return second(); }\n")
        sources[1].write_text(text + "int second() { return 0; }\n")
        objects = [str(source.with_suffix(".o")) for source in sources]

        def compile_one(pair):
            return subprocess.run(compiler.base + compiler.part_flags + ["-O0", "-c", str(pair[0]), "-o", pair[1]], capture_output=True, text=True)

        for result in side_by_side(compile_one, zip(sources, objects)):
            if result.returncode:
                return [result.stderr]
        result = subprocess.run(compiler.base + objects + ["-o", str(pathlib.Path(folder, "program"))] + compiler.libraries, capture_output=True, text=True)
    # What is undefined belongs to a library that is not linked here; what is defined twice is ours.
    return [result.stderr] if "multiple definition" in result.stderr else []


def main():
    options = arguments(__doc__, COMPILER, CONFIG, (["--link"], {"action": "store_true"}), (["--device"], {"action": "store_true"}), (["--together"], {"action": "store_true"}), (["folders"], {"nargs": "*"}))
    compiler = Compiler("nvcc" if options.device else options.compiler, options.config)
    names = [h for h in headers("*.cuh" if options.device else "*.hpp") if in_folders(h, options.folders) and compiler.supports(h)]
    if options.link:
        stamp = compiler.memory / ("linked-" + digest(names)[:16])
        problems = [] if stamp.exists() else linked(compiler, names)
        if not problems:
            stamp.touch()
        return finish(problems, f"{len(names)} headers, two translation units, one program")
    if options.together:
        return finish(together(compiler, names), f"{len(names)} headers compile together")
    problems = [p for p in side_by_side(lambda h: alone(compiler, h), names) if p]
    if options.device:
        problems += together_for_devices(compiler, names)
    return finish(problems, f"{len(names)} headers compile alone")


if __name__ == "__main__":
    sys.exit(main())
