# SPDX-License-Identifier: Apache-2.0
"""Documentation that stays true: code is cut from files that are compiled and tested, and links lead somewhere.

A C++ block in README.md or docs/ is preceded by a comment that says where it comes from:

    <!-- from: examples/quickstart.cpp [train] -->
    ```cpp
    ...
    ```

The file marks the region with two equal lines `//! [train]`; without a region the whole file is meant. The block must equal the
region, less its common indentation. `--update` rewrites the blocks. A block that is no code of ours (a sketch of a signature) says
so: `<!-- from: nowhere, because ... -->`.
"""

import re
import sys
import textwrap

from common import ROOT, UPDATE, arguments, finish

BLOCK = re.compile(r"(?:<!-- from: (?P<source>[^\n]*?) -->\n)?```cpp\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def region(source):
    """The text that a `from:` comment names, or an exception that says what is wrong."""
    match = re.fullmatch(r"(\S+)(?: \[(\S+)\])?", source)
    if not match:
        raise ValueError("cannot be read; write: from: <file> [<region>]")
    path = ROOT / match[1]
    if not path.exists():
        raise ValueError(f"{match[1]} does not exist")
    text = path.read_text()
    if not match[2]:
        return text
    parts = re.split(rf"^[ \t]*//! \[{re.escape(match[2])}\][ \t]*\n", text, flags=re.MULTILINE)
    if len(parts) != 3:
        raise ValueError(f"{match[1]} marks the region [{match[2]}] {len(parts) - 1} time(s), not twice")
    inner = re.sub(r"^[ \t]*//! \[\S+\][ \t]*\n", "", parts[1], flags=re.MULTILINE)  # marks of other regions within
    return textwrap.dedent(inner).strip("\n") + "\n"


def check_blocks(page, text, update, problems):
    def one(match):
        where = f"{page.relative_to(ROOT)}:{text[:match.start()].count(chr(10)) + 1}"
        source = match["source"]
        if source and source.startswith("nowhere, because "):
            return match[0]
        if not source:
            problems.append(f"{where}: a C++ block without <!-- from: file [region] --> before it")
            return match[0]
        try:
            wanted = region(source)
        except ValueError as error:
            problems.append(f"{where}: {source}: {error}")
            return match[0]
        if match["code"] != wanted and not update:
            problems.append(f"{where}: differs from {source} (docs.py --update rewrites it)")
        return f"<!-- from: {source} -->\n```cpp\n{wanted}```"

    return BLOCK.sub(one, text)


def anchors(path):
    """The names under which a page's headings can be linked."""
    titles = re.findall(r"^#+ +(.+?)\s*$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(page, text, problems):
    plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for groups in LINK.findall(plain):
        link = groups[0] or groups[1]
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            problems.append(f"{page.relative_to(ROOT)}: the link {link} leads nowhere")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            problems.append(f"{page.relative_to(ROOT)}: the link {link} names no heading of {target.name}")


def main():
    options = arguments(__doc__, UPDATE)
    problems = []
    pages = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
    for page in pages:
        text = page.read_text()
        rewritten = check_blocks(page, text, options.update, problems)
        if options.update and rewritten != text:
            page.write_text(rewritten)
            print(f"rewritten: {page.relative_to(ROOT)}")
        check_links(page, text, problems)
    return finish(problems, f"{len(pages)} pages: code and links hold")


if __name__ == "__main__":
    sys.exit(main())
