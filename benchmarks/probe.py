# SPDX-License-Identifier: Apache-2.0
"""Measures `espalier probe` beside transformers with module hooks, and how its cost grows.

On the 2B shape with random weights, 512x512 pictures, five short prompts: in turn with the peer
(ours, peer, ours, ...); then one prompt against five, twice the pictures, little memory, fewer
layers. Ratios are medians over the pairs. Weights are in the page cache on both sides.

    python benchmarks/probe.py --build build/release [--work build/bench] [--runs 5] [--pictures 4]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import run

HERE = Path(__file__).parent
# With the byte tokens of a default checkpoint 17 to 19 tokens of each sample's own: as many as the
# paper's prompts have in Qwen's vocabulary.
PROMPTS = ["Solve.", "Answer.", "Reword.", "Model it.", "Verify."]


def write_prompts(path: Path, prompts: list[str]) -> None:
    rows = ['[[domain]]\nname = "bench"']
    rows += [f'[[domain.subtask]]\nname = "p{i}"\nprompt = "{p}"' for i, p in enumerate(prompts)]
    path.write_text("\n".join(rows) + "\n")


class Probe:
    """Runs `espalier probe` and says what it took."""

    def __init__(self, arguments: argparse.Namespace, pictures: Path) -> None:
        self.espalier = arguments.build / "bin" / "espalier"
        self.work = arguments.work
        self.threads = str(arguments.threads)
        self.pictures = pictures

    def __call__(self, model: Path, limit: int, prompts: list[str], memory: str = "") -> dict:
        toml, out = self.work / "prompts.toml", self.work / "probe"
        write_prompts(toml, prompts)
        shutil.rmtree(out, ignore_errors=True)
        command = [str(self.espalier), "probe", str(model), "--domain", f"bench={self.pictures}",
                   "--prompts", str(toml), "--limit", str(limit), "--threads", self.threads,
                   "--quiet", "--json", "--out", str(out)]
        if memory:
            command += ["--memory", memory]
        read, write = os.pipe()
        child = os.posix_spawn(command[0], command, os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)])
        os.close(write)
        text = os.fdopen(read).read()
        _, status, usage = os.wait4(child, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        return {**json.loads(text), "peak": usage.ru_maxrss * 1024}


def probe_flops(tokens: int, pictures: int, layers: int, prefix: int, samples: int) -> float:
    """Of the tower over 1024 patches a picture, and of the decoder's linear layers and attention."""
    own = tokens - pictures * prefix
    keys = pictures * prefix * (prefix + 1) / 2 + own * (prefix + own / samples / 2)
    return pictures * run.vision_flops(1024) + layers * (2 * 50.33e6 * tokens + 4 * 16 * 128 * keys)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/release"))
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="peer,growth")
    arguments = parser.parse_args()
    wanted = set(arguments.only.split(","))
    folder = arguments.work / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(2 * arguments.pictures):
        if not (folder / f"{i:02}.png").exists():
            run.write_picture(folder / f"{i:02}.png", 512, seed=i)
    model = arguments.work / "2b"
    if not model.exists():
        subprocess.run([arguments.build / "bin" / "espalier", "init", model, "--preset", "2b"],
                       check=True)
    probe = Probe(arguments, folder)
    count = arguments.pictures
    print(f"cpu {run.cpu_name()}, {arguments.threads} threads; {count} pictures of 512x512, "
          f"{len(PROMPTS)} prompts, bfloat16")
    bench_model = run.Worker([str(arguments.build / "bin" / "bench_model"), str(model),
                              str(folder / "00.png"), "Hi?", str(arguments.threads)])
    gflops = statistics.median(bench_model.measure("gemm") for _ in range(3))
    weights = bench_model.measure("weights")
    bench_model.close()
    probe(model, count, PROMPTS)  # warm: the weights come into the page cache

    if "peer" in wanted:
        peer = run.Worker([sys.executable, str(HERE / "probe_peer.py"), str(model),
                           str(arguments.threads), *PROMPTS])
        peer.measure(str(folder / "00.png"))
        ours, theirs, results = [], [], []
        for i in range(arguments.runs):
            results.append(probe(model, count, PROMPTS))
            ours.append(results[-1]["seconds"] / count)
            theirs.append(peer.measure(str(folder / f"{i:02}.png")))
        peer.close()
        ratio = statistics.median(y / x for x, y in zip(ours, theirs))
        print(f"probe, a picture: ours {statistics.median(ours):.2f} s, transformers with hooks "
              f"{statistics.median(theirs):.2f} s, ratio {ratio:.2f}x")
        print("   ours ", " ".join(f"{x:.3f}" for x in ours))
        print("   peer ", " ".join(f"{x:.3f}" for x in theirs))
        tokens, prefix = results[0]["tokens"], 265
        rate = probe_flops(tokens, count, 27, prefix, count * len(PROMPTS)) / (
            statistics.median(ours) * count) / 1e9
        print(f"   {rate:.0f} GFLOP/s over {tokens} tokens: {rate / gflops:.0%} of the product's "
              f"{gflops:.0f}")
        peak = max(result["peak"] for result in results)
        print(f"   peak RSS {peak / 1e9:.2f} GB, weights {weights / 1e9:.2f} GB: "
              f"{(peak - weights) / 1e9:+.2f} GB")

    if "growth" in wanted:
        def pairs(first, second) -> tuple[float, float, float]:
            a, b = [], []
            for _ in range(max(arguments.runs // 2, 1)):
                a.append(first()["seconds"])
                b.append(second()["seconds"])
            return (statistics.median(a), statistics.median(b),
                    statistics.median(y / x for x, y in zip(a, b)))

        one, five, ratio = pairs(lambda: probe(model, count, PROMPTS[:1]),
                                 lambda: probe(model, count, PROMPTS))
        print(f"prompts 1 -> 5: {one:.2f} -> {five:.2f} s, {ratio:.2f}x")
        few, many, ratio = pairs(lambda: probe(model, count, PROMPTS),
                                 lambda: probe(model, 2 * count, PROMPTS))
        print(f"pictures {count} -> {2 * count}: {few:.2f} -> {many:.2f} s, {ratio:.2f}x")
        peaks = []

        def small() -> dict:
            result = probe(model, 2 * count, PROMPTS, memory="1.5GiB")
            peaks.append(result["peak"])
            return result

        whole, little, ratio = pairs(lambda: probe(model, 2 * count, PROMPTS), small)
        print(f"--memory 1.5GiB: {whole:.2f} -> {little:.2f} s, {ratio:.2f}x; peak RSS "
              f"{max(peaks) / 2**30:.2f} GiB")
        times = {28: few}
        for removed in (6, 10):
            plan = arguments.work / f"minus{removed}.json"
            subprocess.run([arguments.build / "bin" / "espalier", "prune", model, "--layers",
                            f"10-{9 + removed}", "--map-only", "--force", "--quiet", "--out", plan],
                           check=True)
            times[28 - removed] = statistics.median(
                probe(plan, count, PROMPTS)["seconds"] for _ in range(max(arguments.runs // 2, 1)))
        # Vision is the same for all: the decoder's part goes with the measured layers.
        layer = (times[28] - times[18]) / 10
        expected = times[28] - 6 * layer
        print(f"layers 28, 22, 18: {times[28]:.2f}, {times[22]:.2f}, {times[18]:.2f} s; 22 by the line "
              f"through the others {expected:.2f} s, {times[22] / expected - 1:+.1%}")


if __name__ == "__main__":
    main()
