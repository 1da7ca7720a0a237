# SPDX-License-Identifier: Apache-2.0
"""Measures `espalier finetune` beside peft and transformers, in turn, on one machine in one call.

On the 2B shape with random weights in bfloat16: LoRA by the paper's settings over 512x512 pictures
with short answers. A pair is one optimizer step of each; the ratio is the median of the pairs' ratios.
Ours without and with the frozen tower's features kept on disk; the peer without and with gradient
checkpointing, if asked.

    python benchmarks/finetune.py --build build/release [--work build/bench] [--runs 5] [--batch 2]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import run

HERE = Path(__file__).parent
# With byte tokens, 256 visual ones and the template's a sample has some 380 tokens.
QUESTION = "What is written on the third line of this picture, and which colour has the sign beside it?"
ANSWERS = ("A red arrow, 42.", "Nothing at all.", "A blue cross.", "Seven and nine.")


def write_rows(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        if not (folder / f"{i:02}.png").exists():
            run.write_picture(folder / f"{i:02}.png", 512, seed=i)
        rows.append(json.dumps({
            "messages": [{"role": "user", "content": "<image>" + QUESTION},
                         {"role": "assistant", "content": ANSWERS[i % len(ANSWERS)]}],
            "images": [f"{i:02}.png"]}))
    path = folder / "rows.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


class Ours:
    """Runs `espalier finetune` for two steps; the second counts."""

    def __init__(self, arguments: argparse.Namespace, model: Path, rows: Path) -> None:
        self.out = arguments.work / "finetune"
        self.command = [
            str(arguments.build / "bin" / "espalier"), "finetune", str(model), "--data", str(rows),
            "--out", str(self.out), "--batch", str(arguments.batch), "--steps", "2", "--threads",
            str(arguments.threads), "--quiet"]

    def __call__(self, *more: str) -> dict:
        shutil.rmtree(self.out, ignore_errors=True)
        subprocess.run([*self.command, *more], check=True)
        return json.loads((self.out / "steps.jsonl").read_text().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/release"))
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="the peer's gradient checkpointing")
    arguments = parser.parse_args()
    model = arguments.work / "2b"
    if not model.exists():
        subprocess.run([arguments.build / "bin" / "espalier", "init", model, "--preset", "2b"], check=True)
    rows = write_rows(arguments.work / "samples", 2 * arguments.batch)
    cache = arguments.work / "features"
    shutil.rmtree(cache, ignore_errors=True)
    ours = Ours(arguments, model, rows)
    ours("--cache-vision", str(cache))  # warm: weights come into the page cache, features are kept
    peer = run.Worker([sys.executable, str(HERE / "finetune_peer.py"), str(model), str(rows),
                       str(arguments.threads), str(arguments.batch),
                       *(["checkpointing"] if arguments.checkpointing else [])])
    peer.measure("step")
    plain, kept, theirs = [], [], []
    for _ in range(arguments.runs):
        plain.append(ours())
        kept.append(ours("--cache-vision", str(cache)))
        theirs.append(peer.measure("step"))
    peak = peer.measure("peak")
    peer.close()

    tokens = plain[0]["tokens"]
    print(f"cpu {run.cpu_name()}, {arguments.threads} threads; steps of {arguments.batch} samples, "
          f"{tokens} tokens, {plain[0]['visual_tokens']} of them visual; bfloat16")
    print(f"peer: {tokens / statistics.median(theirs):.1f} tokens/s, peak {peak / 1e9:.2f} GB"
          + (", gradient checkpointing" if arguments.checkpointing else ""))
    print("   seconds", " ".join(f"{x:.3f}" for x in theirs))
    for name, steps in (("ours", plain), ("ours, features kept", kept)):
        seconds = [step["seconds"] for step in steps]
        ratio = statistics.median(y / x for x, y in zip(seconds, theirs))
        flops = statistics.median(step["flops_per_second"] for step in steps)
        print(f"{name}: {tokens / statistics.median(seconds):.1f} tokens/s, ratio {ratio:.2f}x, "
              f"{flops / 1e9:.0f} GFLOP/s, peak {max(s['peak_memory_bytes'] for s in steps) / 1e9:.2f} GB")
        print("   seconds", " ".join(f"{x:.3f}" for x in seconds))


if __name__ == "__main__":
    main()
