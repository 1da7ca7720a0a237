# SPDX-License-Identifier: Apache-2.0
"""The peer of `espalier probe`: transformers with module hooks, as the paper's appendix A.1 has it.

Batch 1, one pass a prompt, sdpa, bfloat16, `logits_to_keep=1`, `use_cache=False`: what a careful user
would set. Each line on stdin names a picture; the answer is the seconds of all prompts about it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "reference"))
import reference  # noqa: E402  (makes torchvision importable beside a CPU torch)
import probe_hooks  # noqa: E402

import torch  # noqa: E402


def main() -> None:
    folder, threads, *prompts = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = reference.load_model(folder, torch.bfloat16)
    processor = reference.load_processor(folder)
    hooks = probe_hooks.LayerHooks(model.model.language_model.layers)
    print("ready", flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            picture = line.strip()
            start = time.perf_counter()
            for prompt in prompts:
                inputs = reference.encode(processor, [reference.open_picture(picture)], prompt)
                hooks.clear()
                model(**inputs, use_cache=False, logits_to_keep=1)
                [float(similarity.mean()) for similarity in hooks.similarity]
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
