# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/training: 20 steps of LoRA by peft, transformers and torch's AdamW.

Four conversations about the committed checkpoint `gqa_tied`, three a step in turn, each by a
forward pass of its own; dropout 0, float32. A step's loss is the sum of cross-entropies over the
step's label tokens (the assistant's words and their <|im_end|>) divided by the number of these;
gradients are clipped to a norm of 1; AdamW has rate 1e-3, betas 0.9 and 0.999, epsilon 1e-8 and
decay 0.1; the rate falls by half a cosine to 0, without a warm-up. Adapters of rank 4 and alpha 8
lie on the seven products of every decoder layer, and start as peft starts them.

    training.safetensors  samples.{s}.input_ids     [L]
                          samples.{s}.position_ids  [3, L]
                          samples.{s}.grid_thw      [1, 3]   of a sample with a picture
                          samples.{s}.pixel_rows    [2]      begin and end of its pixels' rows in
                                                             gqa_tied/expected.safetensors
                          samples.{s}.label_rows    [n]      the row before each label token
                          samples.{s}.targets       [n]
                          samples.{s}.logits        [8, V]   of the trained model, the last rows
                          steps.samples             [20, 3]
                          steps.losses              [20]
                          steps.gradient_norms      [20]     before clipping
                          steps.{k}.weights.{key}            before step k, by peft's keys
                          steps.{k}.gradients.{key}          before clipping
    adapter/              the trained adapter, as peft saves it

Weights and gradients are kept of every fifth step, which bounds the file; with `--every 1` of all.
Running it again gives the same bytes.

    python make_training_fixtures.py [--out tests/fixtures/training] [--every 5]
"""

from __future__ import annotations

import argparse
import pathlib

import reference  # first: it makes torchvision importable

import safetensors.torch
import torch
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "fixtures" / "models" / "gqa_tied"
STEPS = 20
BATCH = 3
RATE = 1e-3
IGNORED = -100
# Anchored: the vision tower's products have other names here, but not in every model.
TARGETS = (r"model\.language_model\.layers\.\d+\."
           r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)")
# The pictures of the checkpoint's own case, in their order.
PICTURES = ["wide.png", "tall.png"]


def said(role: str, text: str, picture: str | None = None) -> dict:
    content: list[dict] = [{"type": "text", "text": text}]
    if picture is not None:
        content.insert(0, {"type": "image", "image": picture})
    return {"role": role, "content": content}


CONVERSATIONS = [
    [said("user", "How much is 3 + 4?"), said("assistant", "7")],
    [said("user", "What is on the left?", "wide.png"), said("assistant", "A circle, cut off.")],
    [said("system", "Answer in one word."), said("user", "Is 9 a prime?"), said("assistant", "No"),
     said("user", "And 11?"), said("assistant", "Yes")],
    [said("user", "Hello"), said("assistant", "Hi!"), said("user", "How many lines?", "tall.png"),
     said("assistant", "Two, and one arc.")],
]


def encode(processor, messages: list[dict], prompt: bool = False):
    """The processor's tensors of a conversation; with `prompt`, up to the assistant's words."""
    opened = [
        {**message, "content": [
            {**part, "image": reference.open_picture(MODEL / part["image"])}
            if part["type"] == "image" else part for part in message["content"]]}
        for message in messages
    ]
    return processor.apply_chat_template(opened, tokenize=True, add_generation_prompt=prompt,
                                         return_dict=True, return_tensors="pt")


def labels_of(processor, messages: list[dict], ids: torch.Tensor) -> torch.Tensor:
    """The ids where the assistant speaks, IGNORED elsewhere."""
    end_id = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    labels = torch.full_like(ids, IGNORED)
    for k, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = encode(processor, messages[:k], prompt=True)["input_ids"][0]
        begin = len(before)
        if not torch.equal(ids[:begin], before):
            raise RuntimeError("the conversation does not begin as its prompt")
        end = begin + ids[begin:].tolist().index(end_id) + 1
        labels[begin:end] = ids[begin:end]
    return labels


def describe(model, inputs, labels: torch.Tensor, messages: list[dict]) -> dict[str, torch.Tensor]:
    """A sample's input as the fixture holds it."""
    ids = inputs["input_ids"]
    positions = torch.arange(ids.shape[1]).view(1, 1, -1).expand(3, 1, -1)
    rows = (labels != IGNORED).nonzero()[:, 0] - 1
    tensors = {"input_ids": ids[0], "label_rows": rows, "targets": labels[rows + 1]}
    if "pixel_values" in inputs:
        positions, _ = model.model.get_rope_index(
            ids, mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"], attention_mask=inputs["attention_mask"])
        picture = next(part["image"] for message in messages for part in message["content"]
                       if part["type"] == "image")
        tensors["grid_thw"] = inputs["image_grid_thw"]
        tensors["pixel_rows"] = pixel_rows(PICTURES.index(picture), inputs["pixel_values"])
    tensors["position_ids"] = positions[:, 0].clone()
    return tensors


def pixel_rows(picture: int, pixel_values: torch.Tensor) -> torch.Tensor:
    """Where the case's own values hold a picture's."""
    case = safetensors.torch.load_file(MODEL / "expected.safetensors")
    patches = case["grid_thw"].prod(-1)
    begin, count = int(patches[:picture].sum()), int(patches[picture])
    if not torch.equal(case["pixel_values"][begin:begin + count], pixel_values):
        raise RuntimeError("the picture's values are not those of the checkpoint's case")
    return torch.tensor([begin, begin + count])


def by_key(adapted, of) -> dict[str, torch.Tensor]:
    """What `of` says of each trained tensor, by the key that peft stores it under."""
    found = {name.replace(".default.", "."): of(parameter).clone()
             for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    if found.keys() != get_peft_model_state_dict(adapted).keys():
        raise RuntimeError("peft stores the adapter under other keys")
    return found


def train(adapted, samples: list[tuple], every: int) -> dict[str, torch.Tensor]:
    """Runs the steps; the adapter is trained in place."""
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=0.1)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, 0, STEPS)
    tensors: dict[str, torch.Tensor] = {}
    chosen, losses, norms = [], [], []
    for step in range(STEPS):
        chosen.append([(BATCH * step + k) % len(samples) for k in range(BATCH)])
        batch = [samples[k] for k in chosen[-1]]
        count = sum(int((labels != IGNORED).sum()) for _, labels in batch)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for inputs, labels in batch:
            loss = adapted(**inputs, labels=labels[None], use_cache=False,
                           num_items_in_batch=count).loss
            loss.backward()
            total += loss.item()
        losses.append(total)
        if step % every == 0:
            for kind, of in (("weights", lambda p: p.detach()), ("gradients", lambda p: p.grad)):
                for key, value in by_key(adapted, of).items():
                    tensors[f"steps.{step}.{kind}.{key}"] = value
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, 1.0)))
        print(f"  step {step}: loss {total:.4f}, norm {norms[-1]:.3f}", flush=True)
        optimizer.step()
        schedule.step()
    tensors["steps.samples"] = torch.tensor(chosen)
    tensors["steps.losses"] = torch.tensor(losses)
    tensors["steps.gradient_norms"] = torch.tensor(norms)
    return tensors


def save_adapter(adapted, folder: pathlib.Path) -> None:
    """As peft saves it, but for the card and the name of this machine's folder."""
    adapted.peft_config["default"].base_model_name_or_path = MODEL.name
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    (folder / "adapter_model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=HERE.parent / "fixtures" / "training")
    parser.add_argument("--every", type=int, default=5,
                        help="keep weights and gradients of every so manieth step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(7)  # of the adapters' start
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    processor = reference.load_processor(MODEL)
    model = reference.load_model(MODEL, torch.float32)
    tensors, samples = {}, []
    for s, messages in enumerate(CONVERSATIONS):
        inputs = encode(processor, messages)
        labels = labels_of(processor, messages, inputs["input_ids"][0])
        samples.append((inputs, labels))
        for name, value in describe(model, inputs, labels, messages).items():
            tensors[f"samples.{s}.{name}"] = value
    adapted = get_peft_model(model, LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=TARGETS, bias="none",
        task_type="CAUSAL_LM"))
    adapted.train()
    tensors.update(train(adapted, samples, arguments.every))
    adapted.eval()
    with torch.inference_mode():
        for s, (inputs, _) in enumerate(samples):
            logits = adapted(**inputs, use_cache=False).logits
            tensors[f"samples.{s}.logits"] = logits[0, -reference.LAST_LOGITS:].clone()
    arguments.out.mkdir(parents=True, exist_ok=True)
    reference.save_sorted(tensors, arguments.out / "training.safetensors", {"format": "pt"})
    save_adapter(adapted, arguments.out / "adapter")


if __name__ == "__main__":
    main()
