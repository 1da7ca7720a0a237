#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes espalier/text/unicode_classes.cpp: which code points the reference counts as letters,
numbers and white space.

The tables are probed from the regular-expression engine inside the pinned tokenizers wheel, code
point by code point, since its Unicode version (16.0) is neither PCRE2's nor ICU's on Debian 12.

    pip install tokenizers==0.23.3
    python3 tools/make_unicode_classes.py
"""

import pathlib
import sys

import tokenizers
from tokenizers import Regex, pre_tokenizers

PINNED = "0.23.3"
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "espalier/text/unicode_classes.cpp"
CLASSES = [("letters", r"\p{L}"), ("numbers", r"\p{N}"), ("white_space", r"\s")]


def members(expression):
    """Code points that the engine matches with `expression`."""
    split = pre_tokenizers.Split(Regex(expression), "removed")
    for code_point in range(0x110000):
        if 0xD800 <= code_point < 0xE000:
            continue
        if not split.pre_tokenize_str(chr(code_point)):
            yield code_point


def ranges(code_points):
    """The same as [first, last] pairs."""
    result = []
    for code_point in code_points:
        if result and code_point == result[-1][1] + 1:
            result[-1][1] = code_point
        else:
            result.append([code_point, code_point])
    return result


def fill(items, width=100, indent="    "):
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 1 > width:
            lines.append(line.rstrip())
            line = indent
        line += item + " "
    return "\n".join(lines + [line.rstrip()])


def main():
    if tokenizers.__version__ != PINNED:
        sys.exit(f"make_unicode_classes: needs tokenizers {PINNED}, found {tokenizers.__version__}")
    parts = [
        "// SPDX-License-Identifier: Apache-2.0\n"
        f"// Made by tools/make_unicode_classes.py from tokenizers {PINNED}. Do not edit.\n"
        '#include "espalier/text/unicode_classes.h"\n\n'
        "namespace espalier {\nnamespace {\n\n// clang-format off\n"
    ]
    functions = []
    for name, expression in CLASSES:
        table = ranges(members(expression))
        count = sum(last - first + 1 for first, last in table)
        body = fill(f"{{0x{first:x}, 0x{last:x}}}," for first, last in table)
        constant = "k" + name.title().replace("_", "")
        parts.append(
            f"// {count} code points in {len(table)} ranges.\n"
            f"constexpr CodePointRange {constant}[] = {{\n{body}\n}};\n\n"
        )
        functions.append(f"std::span<const CodePointRange> {name}() {{ return {constant}; }}\n")
    parts.append("// clang-format on\n\n}  // namespace\n\n")
    parts.append("\n".join(functions) + "\n}  // namespace espalier\n")
    OUTPUT.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
