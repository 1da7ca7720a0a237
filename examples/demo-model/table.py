#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what measure.sh found as README.md's tables.

  table.py WORK     WORK holds gates/eval, pruned/ and healed/eval, as measure.sh leaves them
"""

import collections
import json
import pathlib
import sys

PROBLEMS = [
    "one-digit-sum", "one-digit-difference", "one-digit-product", "two-digit-sum",
    "two-digit-difference", "three-terms", "unknown", "comparison", "table", None,
]  # None is all of a domain
PICTURES = [("scenes", k) for k in ("count", "caption", "count by shape", "count by colour")]
PICTURES += [("easy-vqa", k) for k in ("yes/no", "shape", "colour", None)]
SPELLED = {"easy-vqa": "easy-VQA", "answer": "math, answer only", "working": "math, with working"}
HEALED = {
    "base": "unpruned", "control": "the control: unpruned, by the same recipe",
    "math": "without {} (`math`)", "math-sft": "healed by next token", "math-kd": "healed from the parent (`kd`)",
    "nonmath": "without {} (`nonmath`)", "nonmath-sft": "healed by next token",
    "nonmath-kd": "healed from the parent (`kd`)",
}


def groups_of(evaluation):
    """(domain, kind) -> its group of a scoreboard."""
    groups = json.loads((evaluation / "scoreboard.json").read_text(encoding="utf-8"))["groups"]
    return {(g["domain"], g["kind"]): g for g in groups}


def percent(group):
    return f"{100 * group['accuracy']:.1f}"


def cell(group):
    return f"{percent(group)} ({100 * group['low']:.1f} to {100 * group['high']:.1f})"


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def head(*names):
    row(*names)
    print("|" + "---|" * len(names))


def print_gates(run):
    base, blind = (groups_of(run / name) for name in ("base", "blind"))
    head("problems", "answer only", "blind", "with working", "blind")
    for kind in PROBLEMS:
        cells = [c for d in ("answer", "working") for c in (cell(base[d, kind]), percent(blind[d, kind]))]
        row(kind or "all", *cells)
    print()
    head("pictures of shapes", "", "blind")
    for domain, kind in PICTURES:
        name = f"{SPELLED.get(domain, domain)}: {kind or 'all'}"
        row(name, cell(base[domain, kind]), percent(blind[domain, kind]))


def print_pruned(run):
    """Best first; criteria that remove the same layers in one row."""
    base = {d: g for (d, kind), g in groups_of(run / "eval" / "base").items() if d and kind is None}
    criteria = collections.defaultdict(list)
    for line in (run / "sets.tsv").read_text(encoding="utf-8").splitlines():
        criterion, budget, layers = line.split("\t")
        if criterion not in criteria[budget, layers]:
            criteria[budget, layers].append(criterion)
    found = {layers: groups_of(run / "eval" / f"layers-{layers}") for _, layers in criteria}
    first = next(iter(base))
    head("removed", "by", "layers", *(SPELLED.get(domain, domain) for domain in base))
    row("0 %", "", "none", *map(cell, base.values()))
    for budget in dict.fromkeys(budget for budget, _ in criteria):
        sets = [layers for b, layers in criteria if b == budget]
        for layers in sorted(sets, key=lambda s: -found[s][first, None]["accuracy"]):
            row(budget.replace("%", " %"), ", ".join(criteria[budget, layers]), layers.replace("-", ", "),
                *(cell(found[layers][domain, None]) for domain in base))


def print_healed(work):
    domains = ["answer", "working", "scenes", "easy-vqa"]
    head("model", *(SPELLED.get(domain, domain) for domain in domains))
    for name, told in HEALED.items():
        if "{}" in told:
            plan = json.loads((work / "pruned" / f"{name}-25.plan.json").read_text(encoding="utf-8"))
            told = told.format(", ".join(map(str, plan["removed"])))
        groups = groups_of(work / "healed" / "eval" / name)
        row(told, *(cell(groups[domain, None]) for domain in domains))


def main():
    work = pathlib.Path(sys.argv[1])
    print_gates(work / "gates" / "eval")
    print()
    print_pruned(work / "pruned")
    print()
    print_healed(work)


if __name__ == "__main__":
    main()
