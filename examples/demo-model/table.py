#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what measure.sh found as Markdown: a row for each criterion and budget.

  table.py RUN     RUN holds sets.tsv (criterion, budget, layers) and eval/layers-*/scoreboard.json
"""

import json
import pathlib
import sys


def domains(path):
    """domain -> its group of a scoreboard: all kinds of it together."""
    groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
    return {g["domain"]: g for g in groups if g["domain"] is not None and g["kind"] is None}


def cell(group):
    return f"{100 * group['accuracy']:.1f} ({100 * group['low']:.1f} to {100 * group['high']:.1f})"


def main():
    run = pathlib.Path(sys.argv[1])
    base = domains(run / "eval" / "base" / "scoreboard.json")
    print("| removed | by | layers | " + " | ".join(base) + " |")
    print("|---|---|---|" + "---|" * len(base))
    print("| 0 % | | none | " + " | ".join(map(cell, base.values())) + " |")
    for line in (run / "sets.tsv").read_text(encoding="utf-8").splitlines():
        criterion, budget, layers = line.split("\t")
        found = domains(run / "eval" / f"layers-{layers}" / "scoreboard.json")
        print(f"| {budget.replace('%', ' %')} | {criterion} | {layers.replace('-', ', ')} | "
              + " | ".join(cell(found[domain]) for domain in base) + " |")


if __name__ == "__main__":
    main()
