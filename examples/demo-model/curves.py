#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the losses of train.sh's stages as one SVG picture (needs gnuplot).

  curves.py WORK OUT.svg     WORK/run-STAGE/steps.jsonl, as train.sh leaves them
"""

import json
import pathlib
import subprocess
import sys

STAGES = ["text", "see", "signs", "read", "joint-1", "joint-2", "joint-3", "joint-4", "joint-5",
          "joint-6", "joint-7", "joint-8", "joint-9"]
SOURCES = ["math/formalize", "math/cot", "math/direct", "scenes/caption", "easy-vqa"]
SMOOTH = 50  # steps


def block_of(source):
    """The name of a source's numbers in gnuplot."""
    return "$" + source.replace("/", "_").replace("-", "_")


def points(work):
    """Per source: (samples seen in thousands, loss) over SMOOTH steps; and where each stage ends."""
    curves = {source: [] for source in SOURCES}
    ends, seen = [], 0
    for stage in STAGES:
        steps = [json.loads(line) for line in (work / f"run-{stage}" / "steps.jsonl").open(encoding="utf-8")]
        for begin in range(0, len(steps), SMOOTH):
            some = steps[begin : begin + SMOOTH]
            seen += sum(step["samples"] for step in some)
            for source in SOURCES:
                losses = [entry for step in some for entry in step["losses"] if entry["name"] == source]
                tokens = sum(entry["label_tokens"] for entry in losses)
                if tokens:
                    total = sum(entry["loss"] * entry["label_tokens"] for entry in losses)
                    curves[source].append((seen / 1000, total / tokens))
        for source in SOURCES:
            curves[source].append(None)  # a new line: the next stage begins elsewhere
        ends.append((stage, seen / 1000))
    return curves, ends


def main():
    work, out = map(pathlib.Path, sys.argv[1:])
    curves, ends = points(work)
    data = ""
    for source in SOURCES:
        data += f"{block_of(source)} << END\n"
        data += "".join("\n" if p is None else f"{p[0]:.2f} {p[1]:.4f}\n" for p in curves[source])
        data += "END\n"
    marks, begin = "", 0
    for i, (stage, end) in enumerate(ends):
        marks += f"set arrow from {end}, graph 0 to {end}, graph 1 nohead dt 3 lc rgb '#999999'\n"
        marks += f"set label '{stage}' at {(begin + end) / 2}, graph {0.97 - 0.05 * (i % 2)} center font ',9'\n"
        begin = end
    colours = ["#0072b2", "#e69f00", "#000000", "#009e73", "#cc79a7"]
    plots = ", ".join(
        f"{block_of(source)} with lines lw 1.5 lc rgb '{colour}' title '{source}'"
        for source, colour in zip(SOURCES, colours))
    script = f"""{data}
set terminal svg noenhanced size 760,420 font 'DejaVu Sans,11' background rgb 'white'
set output '{out}'
set logscale y
set yrange [0.003:3]
set xlabel 'samples seen (thousands)'
set ylabel 'cross entropy of a label token (nats)'
set key below
{marks}
plot {plots}
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


if __name__ == "__main__":
    main()
