# SPDX-License-Identifier: Apache-2.0
"""Checks the sentences with which the library refuses what does not fit: each must come from each compiler, word for word.

A file in tests/structure/wording/ holds code that compiles, and sections that must not:

    #if defined(CASE_two_optimizers)
    // expect: a trainer takes one optimizer
    entrain::trainer run{model, optim::sgd{}, optim::adamw{}};
    #endif

Each section is compiled by itself (-DCASE_two_optimizers) and must fail with every expected sentence in the output; line breaks
and runs of blanks do not count. The file without any section must compile. Several `// expect:` lines are several sentences. A file
that says `// emulated: ...` in its second line is given CUDA's emulation (tests/device/emulated), except with nvcc.
"""

import itertools
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from common import COMPILER, CONFIG, INCLUDE_LINE, ROOT, Compiler, arguments, finish, side_by_side

FOLDER = pathlib.Path(__file__).parent / "wording"
SECTION = re.compile(r"^#if defined\((CASE_\w+)\)\n(.*?)^#endif", re.MULTILINE | re.DOTALL)
EXPECT = re.compile(r"^\s*// expect: *(.+?)\s*$", re.MULTILINE)


def squeeze(text):
    return re.sub(r"\s+", " ", text)


class Head:
    """The comments and #include lines that a file begins with, compiled once for all of its sections."""

    def __init__(self, compiler, text, flags, folder):
        lines = itertools.takewhile(lambda line: not line or line.startswith(("//", "#include")), text.split("\n"))
        self.compiler, self.text, self.flags, self.folder = compiler, "\n".join(lines) + "\n", flags, folder
        self.lock, self.shortcut = threading.Lock(), None

    def __call__(self):
        with self.lock:
            if self.shortcut is None:
                self.shortcut = [] if self.compiler.nvcc else self.precompiled()
        return self.shortcut

    def precompiled(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        header = folder / "head.hpp"
        header.write_text(self.text)
        compiled = str(header) + ".gch"
        flags = [flag for flag in self.flags if flag != "-fsyntax-only"]
        if subprocess.run(self.compiler.base + flags + ["-x", "c++-header", str(header), "-o", compiled], capture_output=True).returncode:
            return []  # what is wrong is said where the whole file is compiled
        return ["-include-pch", compiled] if "clang" in self.compiler.path else ["-include", str(header)]


def flags_for(compiler, text):
    mode = {True: ["-cuda", "-arch=sm_80", "-o", "/dev/null"], False: ["-fsyntax-only", "-fmessage-length=0", "-fno-diagnostics-show-caret"]}[compiler.nvcc]
    if "clang" in compiler.path:
        mode = ["-fsyntax-only", "-fmessage-length=0", "-fno-caret-diagnostics"]
    if text.split("\n")[1].startswith("// emulated:") and not compiler.nvcc:
        mode = mode + ["-I", str(ROOT / "tests/device/emulated")]
    return mode + ["-I", str(ROOT)]


def check(compiler, job):
    file, text, head, case, sentences = job
    includes = [name for _, name in INCLUDE_LINE.findall(text)]
    succeeded, output = compiler.run(head.flags + (["-D" + case] if case else []), text, includes, head)
    if case is None:
        return [] if succeeded else [f"{file.name}: does not compile without any section:\n{output}"]
    if not sentences:
        return [f"{file.name}: {case} expects no sentence (// expect: ...)"]
    if succeeded:
        return [f"{file.name}: {case} compiles, but should be refused"]
    return [f"{file.name}: {case} is refused without the sentence\n    {s}\nbut with\n{output[:4000]}" for s in sentences if squeeze(s) not in squeeze(output)]


def main():
    options = arguments(__doc__, COMPILER, CONFIG, (["files"], {"nargs": "*"}))
    compiler = Compiler(options.compiler)  # plain: what the library says must not depend on what is installed
    jobs = []
    with tempfile.TemporaryDirectory() as folder:
        for file in [pathlib.Path(f) for f in options.files] or sorted(FOLDER.glob("*.cpp")):
            text = file.read_text()
            head = Head(compiler, text, flags_for(compiler, text), folder)
            jobs.append((file, text, head, None, []))
            jobs += [(file, text, head, case, EXPECT.findall(body)) for case, body in SECTION.findall(text)]
        problems = sum(side_by_side(lambda job: check(compiler, job), jobs), [])
    return finish(problems, f"{sum(1 for job in jobs if job[3])} refusals in plain words from {options.compiler}")


if __name__ == "__main__":
    sys.exit(main())
