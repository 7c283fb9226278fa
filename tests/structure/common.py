# SPDX-License-Identifier: Apache-2.0
"""What the structure tests share: the tree, the compiler and its flags, and a memory of what has already been compiled."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
SKIPPED = 77  # CTest: SKIP_RETURN_CODE

# Headers that need an optional part: the beginning of their path, and the part.
NEEDS = {"entrain/comm/mpi/": "mpi", "entrain/comm/mpi.hpp": "mpi", "entrain/comm/nccl": "nccl", "entrain/engine/cuda": "cuda", "entrain/device/": "cuda", "entrain/engine/onednn": "onednn"}

INCLUDE_LINE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def headers(pattern="*.hpp"):
    """Paths as they stand in an #include: entrain/core/dtype.hpp."""
    return sorted(str(path.relative_to(INCLUDE)) for path in INCLUDE.rglob(pattern))


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def includes_of(path):
    """The (bracket, name) of each include of a file, in order."""
    return INCLUDE_LINE.findall(without_comments(path.read_text(encoding="utf-8")))


def finish(problems, good):
    """Reports and returns the exit code."""
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problem(s)" if problems else good)
    return 1 if problems else 0


class Compiler:
    """One compiler with the flags of the optional parts that CMake found (--config, written by tests/structure/CMakeLists.txt)."""

    WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]

    def __init__(self, name, config=None):
        self.path = shutil.which(name)
        if not self.path:
            print(f"{name} is not installed: skipped")
            sys.exit(SKIPPED)
        settings = json.loads(pathlib.Path(config).read_text()) if config else {}
        self.parts = set(filter(None, settings.get("parts", "").split(";")))
        directories = [d for d in settings.get("include_directories", "").split(";") if d and d != "/usr/include"]
        self.part_flags = ["-D" + d for d in settings.get("definitions", "").split(";") if d]
        self.part_flags += [flag for d in directories if pathlib.Path(d) != INCLUDE for flag in ("-isystem", d)]
        self.libraries = [library for library in settings.get("libraries", "").split(";") if library]
        self.nvcc = pathlib.Path(self.path).name == "nvcc"
        self.base = [self.path, "-std=c++20", "-I", str(INCLUDE)] + ([] if self.nvcc else ["-pthread"])
        self.version = subprocess.run([self.path, "--version"], capture_output=True, text=True).stdout
        if "Free Software Foundation" in self.version:
            self.base.append("--param=ggc-min-heapsize=1500000")  # rather keep memory (kilobytes) than look for what to free
        self.memory = ROOT / "build" / "structure"
        self.memory.mkdir(parents=True, exist_ok=True)

    def supports(self, header):
        return all(part in self.parts for start, part in NEEDS.items() if header.startswith(start))

    def run(self, arguments, source, depends_on=(), shortcut=lambda: []):
        """Compiles source text; returns (succeeded, output). The same text with the same headers is compiled once.

        shortcut() gives flags that change how long this takes, but not what comes of it."""
        command = self.base + arguments
        key = hashlib.sha256("\0".join([self.version, *command, source, digest(depends_on)]).encode()).hexdigest()
        stamp = self.memory / key[:2] / key
        if stamp.exists():
            remembered = json.loads(stamp.read_text())
            return remembered["succeeded"], remembered["output"]
        environment = dict(os.environ, LC_ALL="C")
        command = command + shortcut()
        if self.nvcc:  # takes no standard input
            file = self.memory / f"{key}.cu"
            file.write_text(source)
            result = subprocess.run(command + [str(file)], capture_output=True, text=True, env=environment)
            file.unlink()
        else:
            result = subprocess.run(command + ["-x", "c++", "-"], input=source, capture_output=True, text=True, env=environment)
        succeeded, output = result.returncode == 0, result.stdout + result.stderr
        stamp.parent.mkdir(exist_ok=True)
        partial = stamp.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"succeeded": succeeded, "output": output}))
        partial.rename(stamp)
        return succeeded, output


def digest(names, cache={}):
    """A hash over our own headers named here and all that they include, directly or not."""
    seen, waiting = set(), [n for n in names if n.startswith("entrain/")]
    while waiting:
        name = waiting.pop()
        path = INCLUDE / name
        if name in seen or not path.exists():
            continue
        seen.add(name)
        if name not in cache:
            cache[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), [n for _, n in includes_of(path) if n.startswith("entrain/")])
        waiting += cache[name][1]
    return hashlib.sha256("".join(sorted(name + cache[name][0] for name in seen)).encode()).hexdigest()


def side_by_side(function, items, workers=2):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def arguments(description, *extra):
    parser = argparse.ArgumentParser(description=description)
    for flags, settings in extra:
        parser.add_argument(*flags, **settings)
    return parser.parse_args()


CONFIG = (["--config"], {"help": "flags of the optional parts, as written by CMake"})
COMPILER = (["--compiler"], {"default": "g++"})
UPDATE = (["--update"], {"action": "store_true", "help": "rewrite instead of check"})
