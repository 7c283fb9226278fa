# SPDX-License-Identifier: Apache-2.0
"""What the peers of this folder share: the program that they take turns with, medians, results."""
import statistics
import subprocess
import sys

median = statistics.median


class Program:
    """One of our benchmarks with --serve: a line asks it to run something, its answer is a time."""

    def __init__(self, path, *arguments):
        self.process = subprocess.Popen([path, "--serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.losses, self.ready = [], False

    def until(self, word):
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["losses"]:
                self.losses = [float(x) for x in words[1:]]
            if words[:1] == [word]:
                return words[1:]
        sys.exit(f"{self.process.args[0]} ended without an answer, with code {self.process.wait()}")

    def seconds(self, question):
        if not self.ready:  # it prepares itself while we do
            self.until("ready")
            self.ready = True
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return float(self.until("seconds")[0])

    def quit(self):
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait()


def report(kind, name, x):
    print(f"{kind} {name} {x:.4g}", flush=True)
