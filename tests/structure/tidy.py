# SPDX-License-Identifier: Apache-2.0
"""Small rules for every file of the tree: a licence line, no open ends, no paths of one person's machine."""

import pathlib
import re
import subprocess
import sys

from common import ROOT, finish

SOURCES = {".hpp", ".cuh", ".cpp", ".cu", ".py", ".sh", ".cmake"}
TEXTS = SOURCES | {".md", ".txt", ".in", ".json"}
OPEN_END = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}*])/(?:work|home|Users|root)/")


def files():
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name]
    return [p for p in ROOT.rglob("*") if p.is_file() and not set(p.relative_to(ROOT).parts[:1]) & {"build", ".git"}]


def main():
    problems, count = [], 0
    for path in files():
        if path.suffix not in TEXTS or not path.exists():
            continue
        name, count = path.relative_to(ROOT), count + 1
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        is_source = path.suffix in SOURCES or path.name == "CMakeLists.txt"
        if is_source and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
            problems.append(f"{name}: the first lines lack SPDX-License-Identifier: Apache-2.0")
        for number, line in enumerate(lines, 1):
            if OPEN_END.search(line):
                problems.append(f"{name}:{number}: an open end; finish it or open an issue")
            if MACHINE_PATH.search(line):
                problems.append(f"{name}:{number}: a path of one machine")
        if path.suffix in {".hpp", ".cuh"} and "#pragma once" not in lines[:3]:
            problems.append(f"{name}: #pragma once stands on the second line")
        if path.suffix == ".sh" and not "".join(lines[:1]).startswith("#!"):
            problems.append(f"{name}: a script begins with #! and its interpreter")
    return finish(problems, f"{count} files are tidy")


if __name__ == "__main__":
    sys.exit(main())
