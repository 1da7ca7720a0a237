# SPDX-License-Identifier: Apache-2.0
"""Measures Espalier beside transformers, in turn, on one machine in one call.

Every figure is a median over paired runs (ours, the peer's, ours, ...); the ratio is the median of the
pairs' ratios, so that a drift of the machine's speed cancels. Raw times are printed.

    python benchmarks/run.py --build build/release [--work build/bench] [--runs 5] [--preset 2b]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PROMPT = "Hi?"  # with the byte tokens of a default checkpoint and 256 visual ones, 280 in all


class Worker:
    """A process that measures what it is told and answers with one number a line."""

    def __init__(self, command: list[str]) -> None:
        spawned = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        self.hello = self.process.stdout.readline().strip()
        self.seconds_to_ready = time.perf_counter() - spawned
        if not self.hello.startswith("ready"):
            raise SystemExit(f"{command[0]} did not start: {self.hello!r}")

    def measure(self, what: str) -> float:
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[0]} died while measuring {what}")
        return float(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def write_picture(path: Path, side: int, seed: int = 1) -> None:
    """A picture of seeded noise over a gradient: nothing about it is constant."""
    from PIL import Image

    generator = random.Random(seed)
    data = bytes((x * 255 // side + generator.randrange(64)) % 256
                 for y in range(side) for x in range(side) for _ in range(3))
    Image.frombytes("RGB", (side, side), data).save(path)


def cpu_name() -> str:
    family = model = name = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "cpu family":
            family = value
        elif key == "model":
            model = value
        elif key == "model name":
            name = value
            break
    zen = {"25": "Zen 4", "26": "Zen 5"}.get(family, "") if "AMD" in name else ""
    return f"{name} (family {family}, model {model}{', ' + zen if zen else ''})"


def paired(ours: Worker, peer: Worker, what: str, runs: int) -> dict:
    """Runs both in turn after one warm-up each."""
    ours.measure(what)
    peer.measure(what)
    a, b = [], []
    for _ in range(runs):
        a.append(ours.measure(what))
        b.append(peer.measure(what))
    ratio = statistics.median(y / x for x, y in zip(a, b))
    return {"ours": a, "peer": b, "ours_median": statistics.median(a),
            "peer_median": statistics.median(b), "ratio": ratio}


def show(title: str, result: dict) -> None:
    print(f"{title}: ours {result['ours_median']:.4f} s, transformers {result['peer_median']:.4f} s, "
          f"ratio {result['ratio']:.2f}x")
    print("   ours ", " ".join(f"{x:.4f}" for x in result["ours"]))
    print("   peer ", " ".join(f"{x:.4f}" for x in result["peer"]))


# A child's peak counts from before its exec, as its parent's copy: a small parent measures.
COMMAND_COST = """
import os, sys, time
times, peak = [], 0
for _ in range(20):
    start = time.perf_counter()
    child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    peak = max(peak, os.wait4(child, 0)[2].ru_maxrss)
    times.append(time.perf_counter() - start)
print(sorted(times)[10] * 1e3, peak / 1024)
"""


def command_cost(command: list[str]) -> tuple[float, float]:
    """Median milliseconds and peak resident MB of a whole process (at least python's own 10 MB)."""
    output = subprocess.run([sys.executable, "-S", "-E", "-c", COMMAND_COST, *map(str, command)],
                            stdout=subprocess.PIPE, text=True, check=True).stdout
    milliseconds, megabytes = map(float, output.split())
    return milliseconds, megabytes


def vision_flops(patches: int) -> float:
    """Of the 2B shape's vision tower over one picture."""
    d, ff, out = 1024, 4096, 2048
    return (2 * patches * 24 * (4 * d * d + 2 * d * ff) + 24 * 4 * d * patches**2
            + 2 * patches * 1536 * d + 4 * (patches // 4) * 2 * (ff * ff + ff * out))


def floor_seconds(tokens: int, patches: int, gflops: float) -> tuple[float, float]:
    """FLOPs of the 2B shape's tower, and of tower and decoder, at the product's rate."""
    vision = vision_flops(patches)
    decoder = 28 * (2 * 50.33e6 * tokens + 4 * 16 * 128 * tokens * (tokens + 1) / 2)
    return vision / gflops / 1e9, (vision + decoder) / gflops / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/release"))
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decode-tokens", type=int, default=24)
    parser.add_argument("--only", default="startup,pass,vision,decode")
    arguments = parser.parse_args()
    wanted = set(arguments.only.split(","))
    arguments.work.mkdir(parents=True, exist_ok=True)
    espalier = arguments.build / "bin" / "espalier"
    model = arguments.work / "2b"
    if not model.exists():
        subprocess.run([espalier, "init", model, "--preset", "2b"], check=True)
    picture = arguments.work / "noise-512.png"
    if not picture.exists():
        write_picture(picture, 512)

    import torch
    import transformers

    print(f"cpu {cpu_name()}, {arguments.threads} threads; python {platform.python_version()}, "
          f"torch {torch.__version__}, transformers {transformers.__version__}, sdpa, bfloat16")
    results: dict[str, object] = {}

    def workers(prompt: str) -> tuple[Worker, Worker]:
        threads = str(arguments.threads)
        return (Worker([str(arguments.build / "bin" / "bench_model"), str(model), str(picture),
                        prompt, threads]),
                Worker([sys.executable, str(HERE / "peer.py"), str(model), str(picture), prompt,
                        threads]))

    if "startup" in wanted:
        for name, command in {"espalier --help": [espalier, "--help"],
                              "espalier inspect (2B)": [espalier, "inspect", model]}.items():
            milliseconds, megabytes = command_cost(command)
            print(f"{name}: {milliseconds:.1f} ms, peak RSS {megabytes:.1f} MB")
            results[name] = {"ms": milliseconds, "rss_mb": megabytes}
        warm = []
        for _ in range(arguments.runs + 1):
            worker = Worker([str(arguments.build / "bin" / "bench_model"), str(model), str(picture),
                             PROMPT, str(arguments.threads)])
            warm.append(worker.seconds_to_ready)
            worker.close()
        print(f"start to the vision tower's first product, warm: {statistics.median(warm[1:]):.3f} s"
              f"  ({' '.join(f'{x:.3f}' for x in warm[1:])})")
        results["start_to_first_product"] = warm[1:]

    if wanted & {"pass", "vision"}:
        ours, peer = workers(PROMPT)
        tokens = int(ours.hello.split()[1])
        print(f"prompt: 512x512 picture, {tokens} tokens; peer: {peer.hello}")
        rates = [ours.measure("gemm") for _ in range(3)]
        gflops = statistics.median(rates)
        vision_floor, pass_floor = floor_seconds(tokens, 1024, gflops)
        print(f"bf16 product 2048x2048x6144: {gflops:.0f} GFLOP/s; floors at that rate: "
              f"pass {pass_floor:.2f} s, vision {vision_floor:.2f} s")
        results["gemm_gflops"] = rates
        for what, floor in (("pass", pass_floor), ("vision", vision_floor)):
            if what in wanted:
                results[what] = paired(ours, peer, what, arguments.runs)
                show(what, results[what])
                print(f"   {floor / results[what]['ours_median']:.0%} of the product's rate")
        peak, weights = ours.measure("peak"), ours.measure("weights")
        print(f"peak RSS {peak / 1e9:.2f} GB = weights {weights / 1e9:.2f} GB + "
              f"{(peak - weights) / 1e9:.2f} GB; peer {peer.measure('peak') / 1e9:.2f} GB")
        results["peak"] = {"ours": peak, "weights": weights}
        ours.close()
        peer.close()

    if "decode" in wanted:
        words = "Say what you see. " * 7  # 18 byte tokens each: about 400 tokens with the picture
        ours, peer = workers(words)
        print(f"decode after {ours.hello.split()[1]} tokens, {arguments.decode_tokens} new ones")
        reads = [ours.measure("read") for _ in range(arguments.runs)]
        results["decode"] = paired(ours, peer, f"decode {arguments.decode_tokens}", arguments.runs)
        show("decode, a token", results["decode"])
        read = min(reads)
        token = results["decode"]["ours_median"]
        print(f"   {1 / token:.2f} tokens/s against {1 / results['decode']['peer_median']:.2f}; reading "
              f"the weights once takes {read:.4f} s: {token / read:.2f}x of that")
        results["read"] = reads
        ours.close()
        peer.close()

    (arguments.work / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
