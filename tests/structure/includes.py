# SPDX-License-Identifier: Apache-2.0
"""Reads every include of the library and holds it against folders.txt and the rules below."""

import fnmatch
import pathlib
import re
import sys

from common import INCLUDE, finish, headers, includes_of, without_comments

# Third-party headers and the one place where each may stand.
HOMES = [
    ("mpi.h", r"entrain/comm/mpi/"),
    ("nccl.h", r"entrain/comm/nccl/"),
    ("cudnn*.h", r"entrain/device/nn/cudnn_"),
    ("boost/*", r"entrain/(.*/)?detail/"),
    ("thrust/*", r"entrain/device/.*\.cuh$"),
    ("cub/*", r"entrain/device/.*\.cuh$"),
    ("catch2/*", r"^$"),
]


def read_table():
    """folder -> (rank, what it may include)."""
    table = {}
    for line in (pathlib.Path(__file__).parent / "folders.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            left, right = line.split(":")
            rank, folder = left.split()
            table[folder] = (int(rank), right.split())
    return table


def folder_of(header):
    parts = header.split("/")
    return parts[1] if len(parts) > 2 else ""  # "" is entrain/entrain.hpp and its like: they stand above everything


def allowed(table, source, target):
    """May the header `source` include the header `target`?"""
    here, there = folder_of(source), folder_of(target)
    if here in ("", there):
        return True
    for pattern in table[here][1]:
        if pattern == there or (pattern == "*" and there and table[there][0] < table[here][0]):
            return True
        if "/" in pattern and fnmatch.fnmatch(target, "entrain/" + pattern):
            return True
    return False


def is_umbrella(header):
    """entrain/entrain.hpp, and entrain/<folder>/<folder>.hpp that does nothing but include."""
    name = header.split("/")
    if len(name) == 2:
        return True
    if len(name) != 3 or name[2].split(".")[0] != name[1]:
        return False
    return not re.sub(r"^[ \t]*#.*$", "", without_comments((INCLUDE / header).read_text()), flags=re.MULTILINE).strip()


def find_cycle(graph):
    state, path = {}, []

    def visit(node):
        state[node] = "open"
        path.append(node)
        for target in graph.get(node, []):
            if state.get(target) == "open":
                return path[path.index(target):] + [target]
            if target not in state:
                cycle = visit(target)
                if cycle:
                    return cycle
        path.pop()
        state[node] = "done"
        return None

    for node in graph:
        if node not in state:
            cycle = visit(node)
            if cycle:
                return cycle
    return None


# The operating system's headers stand where they read best, before our own.
SYSTEM = re.compile(r"(sys|linux|netinet|arpa)/\w+\.h|(unistd|fcntl|poll|pthread|sched|signal|dirent|errno|termios)\.h")


def kind_of(name):
    """The order of includes: 0 the standard library, 1 third-party, 2 our own."""
    return 2 if name.startswith("entrain/") else 1 if "/" in name or "." in name else 0


def main():
    table, problems, graph = read_table(), [], {}
    files = headers("*.hpp") + headers("*.cuh")
    known = set(files)
    umbrellas = {f for f in files if is_umbrella(f)}
    for file in files:
        if folder_of(file) and folder_of(file) not in table:
            problems.append(f"{file}: the folder {folder_of(file)}/ is not in tests/structure/folders.txt")
            continue
        found = includes_of(INCLUDE / file)
        graph[file] = [name for _, name in found if name in known]
        kinds = [kind_of(name) for _, name in found if not SYSTEM.fullmatch(name)]
        guarded = "#if" in (INCLUDE / file).read_text()  # an optional dependency stands in its own condition
        if kinds != sorted(kinds) and not guarded:
            problems.append(f"{file}: includes stand in the order standard library, third-party, entrain")
        for bracket, name in found:
            if bracket == '"':
                problems.append(f'{file}: includes "{name}"; the library includes its own headers as <entrain/...>')
            for pattern, home in HOMES:
                if fnmatch.fnmatch(name, pattern) and not re.search(home, file):
                    problems.append(f"{file}: <{name}> has one home, {home}")
            if name.endswith(".cuh") and file.endswith(".hpp"):
                problems.append(f"{file}: a host header includes the device header <{name}>")
            if not name.startswith("entrain/"):
                continue
            if name not in known:
                problems.append(f"{file}: includes <{name}>, which does not exist")
            elif folder_of(name) in table or not folder_of(name):
                if not allowed(table, file, name):
                    problems.append(f"{file}: {folder_of(file)}/ may include {' '.join(table[folder_of(file)][1]) or 'nothing else'}, not <{name}>")
                if name in umbrellas and folder_of(file):
                    problems.append(f"{file}: includes the umbrella <{name}>; name the headers that are needed")
    cycle = find_cycle(graph)
    if cycle:
        problems.append("a cycle of includes: " + " -> ".join(cycle))
    return finish(problems, f"{len(files)} headers keep the order of folders")


if __name__ == "__main__":
    sys.exit(main())
