# SPDX-License-Identifier: Apache-2.0
"""The peer of `espalier finetune`: peft and transformers, over stdin and stdout.

LoRA by the paper's settings on the decoder's seven products, adapters in float32 over bfloat16
weights (peft's default), sdpa, torch's fused AdamW, samples one after another with their gradients
summed, the loss over the answers alone. With "checkpointing", gradient checkpointing.

    python finetune_peer.py MODEL ROWS THREADS BATCH [checkpointing]

Each line "step" trains on the next BATCH rows and answers with seconds; "peak" with bytes.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "reference"))
import reference  # noqa: E402  (makes torchvision importable beside a CPU torch)

import peft  # noqa: E402
import torch  # noqa: E402

PRODUCTS = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"


def read_samples(processor, rows: Path) -> list[dict]:
    """Inputs with labels on the answer and the end of its turn."""
    samples = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        prompt = row["messages"][0]["content"].removeprefix("<image>")
        answer = row["messages"][1]["content"] + "<|im_end|>"
        inputs = reference.encode(processor, [reference.open_picture(rows.parent / row["images"][0])], prompt)
        ids = processor.tokenizer(answer, return_tensors="pt")["input_ids"]
        length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(ids)], dim=1)
        labels = inputs["input_ids"].clone()
        labels[:, :length] = -100
        samples.append({**inputs, "labels": labels})
    return samples


def main() -> None:
    folder, rows, threads, batch = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    model = reference.load_model(folder, torch.bfloat16)
    samples = read_samples(reference.load_processor(folder), Path(rows))
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=32, lora_alpha=64, lora_dropout=0.05,
        target_modules=rf".*language_model.*\.({PRODUCTS})"))
    if "checkpointing" in sys.argv[5:]:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    optimizer = torch.optim.AdamW(trained, lr=2e-5, weight_decay=0.1, fused=True)
    order = itertools.cycle(samples)
    print(f"ready {sum(s['input_ids'].shape[1] for s in samples) / len(samples):.1f}", flush=True)

    for line in sys.stdin:
        if line.strip() == "step":
            start = time.perf_counter()
            for sample in itertools.islice(order, int(batch)):
                (model(**sample, use_cache=False).loss / int(batch)).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            print(time.perf_counter() - start, flush=True)
        elif line.strip() == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
        else:
            raise SystemExit(f"finetune_peer.py: unknown measurement {line!r}")


if __name__ == "__main__":
    main()
