# SPDX-License-Identifier: Apache-2.0
"""The peer of bench_model: transformers, in the same words over stdin and stdout.

Batch 1, sdpa, bfloat16 as stored, the same threads, and what a careful user would set: no cache and
one row of logits for a bare pass, a cache for generation.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "reference"))
import reference  # noqa: E402  (makes torchvision importable beside a CPU torch)

import torch  # noqa: E402


def seconds_of(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    folder, picture, prompt, threads = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    model = reference.load_model(folder, torch.bfloat16)
    processor = reference.load_processor(folder)
    inputs = reference.encode(processor, [reference.open_picture(picture)], prompt)
    print(f"ready {inputs['input_ids'].shape[1]} tokens", flush=True)

    def one_pass() -> None:
        model(**inputs, use_cache=False, logits_to_keep=1)

    def vision() -> None:
        model.model.visual(
            inputs["pixel_values"].to(model.dtype), grid_thw=inputs["image_grid_thw"])

    def generate(tokens: int) -> None:
        model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)

    with torch.inference_mode():
        for line in sys.stdin:
            what, *rest = line.split()
            if what == "pass":
                print(seconds_of(one_pass), flush=True)
            elif what == "vision":
                print(seconds_of(vision), flush=True)
            elif what == "decode":
                tokens = int(rest[0])
                # two lengths, so that prefill and set-up cancel
                short = seconds_of(lambda: generate(1))
                long = seconds_of(lambda: generate(tokens))
                print((long - short) / (tokens - 1), flush=True)
            elif what == "peak":
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
            else:
                raise SystemExit(f"peer.py: unknown measurement {line!r}")


if __name__ == "__main__":
    main()
