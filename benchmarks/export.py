#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures `espalier prune` beside `cp` of the directory that it writes, in turn, on one disk.

Both end with every byte on the disk: prune syncs by itself, the copy is synced file by file. The
ratio is the median of the pairs' ratios, so that a drift of the disk's speed cancels.

    python3 benchmarks/export.py --build build/release [--work build/bench] [--runs 5] [--preset 2b]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident MB of a process."""
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def copy_synced(source: Path, target: Path) -> float:
    """Seconds of `cp` and of syncing what it wrote."""
    seconds, _ = run(["cp", "-r", str(source), str(target)])
    start = time.perf_counter()
    for path in [*target.rglob("*"), target]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return seconds + time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/release"))
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--preset", default="2b")
    parser.add_argument("--layers", default="5,7,9,11,13,15")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    espalier = str(arguments.build / "bin" / "espalier")
    model = arguments.work / arguments.preset
    if not model.exists():
        subprocess.run([espalier, "init", model, "--preset", arguments.preset], check=True)
    pruned, copied = arguments.work / "pruned", arguments.work / "copied"

    ours, peer, peaks = [], [], []
    for _ in range(arguments.runs + 1):  # the first pair warms the cache up
        for folder in (pruned, copied):
            shutil.rmtree(folder, ignore_errors=True)
        os.sync()
        seconds, peak = run([espalier, "prune", str(model), "--layers", arguments.layers,
                             "--out", str(pruned), "--quiet"])
        ours.append(seconds)
        peaks.append(peak)
        peer.append(copy_synced(pruned, copied))
    size = sum(path.stat().st_size for path in pruned.rglob("*"))
    ours, peer = ours[1:], peer[1:]
    ratio = statistics.median(x / y for x, y in zip(ours, peer))
    print(f"export of {size / 1e9:.2f} GB: prune {statistics.median(ours):.2f} s, "
          f"cp {statistics.median(peer):.2f} s, ratio {ratio:.2f}x; "
          f"peak RSS {max(peaks):.0f} MB")
    print(f"   best of each: {min(ours):.2f} s and {min(peer):.2f} s, ratio {min(ours) / min(peer):.2f}x")
    print("   prune", " ".join(f"{x:.2f}" for x in ours))
    print("   cp   ", " ".join(f"{x:.2f}" for x in peer))
    for folder in (pruned, copied):
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
