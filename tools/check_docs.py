#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the command lines of README.md, CONTRIBUTING.md and docs/.

What is run, page by page and in order:
  ```sh        every line is a command (a backslash joins the next line; # begins a comment)
  ```console   lines that begin with "$ " are commands; what follows is the expected output, where
               a line "..." stands for any lines, and "..." inside a line for any text
Of these, `make TARGET` must name a target; a line with bin/espalier is run and must succeed, or
exit with N under ```console exit=N. Any other line in such a block is a fault: another fence
(```text) is for what is not run.

Commands run as if from the repository root, but in a scratch folder that has bin/, examples/
and the demo model in .demo/model, as `make demo` leaves it; so they may write below .demo/ alone.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap

TOP = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^( *)```(sh|console)(?: exit=(\d+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SECONDS = 120


def commands(page):
    """(line number, command, exit code, expected output or None) of a page."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        kind, code = block[2], int(block[3] or 0)
        body = textwrap.dedent(block[4]).replace("\\\n", " ")
        line = text.count("\n", 0, block.start()) + 2
        if kind == "sh":
            for command in body.splitlines():
                command = re.sub(r"(^|\s)#.*", "", command).strip()
                if command:
                    yield line, command, code, None
        else:
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield line, command, code, output


def matches(expected, found):
    """Whether the output is as the page says: "..." stands for any lines, or any text of one."""
    wild = {"...\n": "(?s:.*)", "...": ".*"}
    parts = re.split(r"(^\.\.\.\n|\.\.\.)", expected.strip() + "\n", flags=re.MULTILINE)
    pattern = "".join(wild.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(pattern, found.strip() + "\n") is not None


def fault(command, code, expected, folder):
    """What is wrong with one command; None if nothing is."""
    if command.startswith("make "):
        targets = [word for word in shlex.split(command)[1:] if "=" not in word]
        known = subprocess.run(["make", "-n", *targets], cwd=TOP, capture_output=True, check=False)
        return None if known.returncode == 0 else f"make knows no {' '.join(targets)}"
    if "bin/espalier" not in command:
        return "neither bin/espalier nor make: fence it as text"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, timeout=SECONDS,
                         capture_output=True, text=True, check=False)
    if run.returncode != code:
        return f"exit {run.returncode}, wanted {code}\n{run.stdout}{run.stderr}"
    # A command that fails has its say on stderr too.
    found = run.stdout + (run.stderr if code else "")
    if expected is not None and not matches(expected, found):
        return f"other output than the page shows:\n{found}"
    return None


def main():
    parser = argparse.ArgumentParser(description="runs the documents' command lines")
    parser.add_argument("--bin", type=pathlib.Path, default=TOP / "bin")
    parser.add_argument("pages", type=pathlib.Path, nargs="*")
    options = parser.parse_args()
    pages = options.pages or [TOP / "README.md", TOP / "CONTRIBUTING.md",
                              *sorted((TOP / "docs").rglob("*.md"))]
    count = faults = 0
    for page in pages:
        with tempfile.TemporaryDirectory(prefix="espalier-docs-") as scratch:
            os.symlink(options.bin.resolve(), f"{scratch}/bin")
            os.symlink(TOP / "examples", f"{scratch}/examples")
            shutil.copytree(TOP / "examples" / "demo-model" / "model", f"{scratch}/.demo/model")
            for line, command, code, expected in commands(page):
                count += 1
                wrong = fault(command, code, expected, scratch)
                if wrong:
                    faults += 1
                    print(f"{page.resolve().relative_to(TOP)}:{line}: {command}\n  {wrong}", file=sys.stderr)
            strays = set(os.listdir(scratch)) - {"bin", "examples", ".demo"}
            if strays:
                faults += 1
                print(f"{page}: writes outside .demo/: {sorted(strays)}", file=sys.stderr)
    print(f"check_docs: {count} commands in {len(pages)} pages, {faults} faults")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
