# SPDX-License-Identifier: Apache-2.0
"""What transformers computes for a Qwen3-VL checkpoint, stage by stage.

`trace` runs one prompt (one user turn: the pictures, then the text) and returns the tensors that
`espalier trace` writes, under the same names:

    pixel_values          [N, 3 * 2 * 16 * 16]  float32, also where the model is bfloat16
    grid_thw              [images, 3]
    input_ids             [L]
    position_ids          [3, L]                axes T, H, W
    rope_delta            [1]
    visual.patch_embed    [N, D]
    visual.pos_embed      [N, D]                what is added, in merge-block order
    visual.blocks.{b}     [N, D]
    visual.merger         [M, H]
    visual.deepstack.{k}  [M, H]
    inputs_embeds         [L, H]                with the picture's rows in place
    layers.{i}.input      [L, H]                after any DeepStack addition
    layers.{i}.output     [L, H]                before any DeepStack addition
    norm                  [L, H]
    logits                [8, V]                the last 8 positions, or all
    generated             [G]                   greedy tokens, the end token included

Ids are int64, everything else float32 (a bfloat16 run's values, widened). A prompt without a
picture has neither pixel_values, grid_thw nor visual.*; no new tokens, no `generated`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

# The compiled half of torchvision is not there beside a CPU torch. Its Python half asks for the
# schemas of two operators when it is imported and never calls them for resizing; declaring them
# makes the import work. The library object must stay alive.
_torchvision_operators = torch.library.Library("torchvision", "FRAGMENT")
for _operator in ("nms", "qnms"):
    try:
        _torchvision_operators.define(
            f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    except RuntimeError:
        pass  # the compiled half is there after all

import PIL.Image
import PIL.ImageOps
import safetensors.torch
import transformers
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAST_LOGITS = 8


@dataclasses.dataclass
class Trace:
    """The tensors of one run, and what is good to know of them."""

    tensors: dict[str, torch.Tensor]
    dtype: str  # of the run: "float32" or "bfloat16"
    # Per generated token: the largest logit, and how far the second one lies below it.
    top_logits: list[float]
    top_gaps: list[float]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a safetensors file; what is not a tensor goes into its metadata."""
        metadata = {
            "format": "pt",
            "dtype": self.dtype,
            "top_logits": json.dumps(self.top_logits),
            "top_gaps": json.dumps(self.top_gaps),
        }
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        save_sorted(tensors, path, metadata)


def save_sorted(
    tensors: dict[str, torch.Tensor], path: str | pathlib.Path, metadata: dict[str, str]
) -> None:
    """Writes a safetensors file whose bytes depend on nothing but the arguments.

    The library orders metadata by a hash that differs from run to run, hence by hand.
    """
    names = {
        torch.float32: "F32",
        torch.bfloat16: "BF16",
        torch.int64: "I64",
        torch.uint8: "U8",
    }
    header: dict[str, object] = {"__metadata__": metadata}
    begin = 0
    # Wide elements first, so that every tensor lies aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            file.write(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())


def open_picture(path: str | pathlib.Path) -> PIL.Image.Image:
    """A picture as Pillow reads it, turned as its EXIF orientation says."""
    picture = PIL.Image.open(path)
    picture.load()
    return PIL.ImageOps.exif_transpose(picture)


def load_processor(model_dir: str | pathlib.Path):
    """The checkpoint's own processor, with the torchvision back end."""
    processor = AutoProcessor.from_pretrained(model_dir)
    if type(processor.image_processor).__name__ != "Qwen2VLImageProcessor":
        raise RuntimeError(
            f"want the torchvision back end, got {type(processor.image_processor).__name__}"
        )
    return processor


def load_model(
    model_dir: str | pathlib.Path, dtype: torch.dtype, attention: str = "sdpa"
) -> Qwen3VLForConditionalGeneration:
    """The checkpoint, every tensor of it and nothing besides."""
    model, info = Qwen3VLForConditionalGeneration.from_pretrained(
        model_dir, dtype=dtype, attn_implementation=attention, output_loading_info=True
    )
    wrong = {key: value for key, value in info.items() if value}
    if wrong:
        raise RuntimeError(f"{model_dir} did not load cleanly: {wrong}")
    return model.eval()


def add_adapter(
    model: Qwen3VLForConditionalGeneration, folder: str | pathlib.Path
) -> Qwen3VLForConditionalGeneration:
    """The same model with an adapter that peft loads, every tensor of it and none besides."""
    import peft

    adapted = peft.PeftModel.from_pretrained(model, folder)
    stored = safetensors.torch.load_file(pathlib.Path(folder) / "adapter_model.safetensors")
    loaded = peft.get_peft_model_state_dict(adapted)
    if loaded.keys() != stored.keys():
        raise RuntimeError(f"{folder}: peft has other tensors: {loaded.keys() ^ stored.keys()}")
    wrong = [key for key, value in stored.items() if not torch.equal(loaded[key], value)]
    if wrong:
        raise RuntimeError(f"{folder}: peft changed {wrong}")
    return adapted.get_base_model().eval()


def encode(processor, pictures: list[PIL.Image.Image], prompt: str):
    """The processor's tensors for one user turn: the pictures, then the text."""
    content: list[dict[str, object]] = [{"type": "image", "image": p} for p in pictures]
    content.append({"type": "text", "text": prompt})
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )


def generate(model, inputs, max_new_tokens: int) -> tuple[torch.Tensor, list[list[float]]]:
    """Greedy tokens, whatever generation_config.json says of draws, and each step's two best logits."""
    generated = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        repetition_penalty=1.0,
        temperature=None,
        top_k=None,
        top_p=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids = generated.sequences[0, inputs["input_ids"].shape[1] :]
    return ids, [step[0].to(torch.float32).topk(2).values.tolist() for step in generated.logits]


def added_positions(visual, grid_thw: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What the tower adds to the patch embedding: the interpolated position table."""
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid_thw,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=visual.config.spatial_merge_size,
    )
    return (visual.pos_embed(indices) * weights[:, :, None]).sum(1).to(dtype)


class Recorder:
    """Copies what modules take and return while one forward pass runs."""

    def __init__(self, model: Qwen3VLForConditionalGeneration):
        self.values: dict[str, torch.Tensor] = {}
        self._handles = []
        visual = model.model.visual
        language = model.model.language_model
        self._on_output("visual.patch_embed", visual.patch_embed)
        for b, block in enumerate(visual.blocks):
            self._on_output(f"visual.blocks.{b}", block)
        self._on_input("tower_input", visual.blocks[0])
        self._on_output("visual.merger", visual.merger)
        for k, merger in enumerate(visual.deepstack_merger_list):
            self._on_output(f"visual.deepstack.{k}", merger)
        for i, layer in enumerate(language.layers):
            self._on_input(f"layers.{i}.input", layer)
            self._on_output(f"layers.{i}.output", layer)
        self._on_output("norm", language.norm)
        self._handles.append(
            language.register_forward_pre_hook(self._keep_positions, with_kwargs=True)
        )

    def _on_output(self, name: str, module: torch.nn.Module) -> None:
        self._handles.append(
            module.register_forward_hook(lambda _m, _a, output: self._keep(name, output))
        )

    def _on_input(self, name: str, module: torch.nn.Module) -> None:
        self._handles.append(
            module.register_forward_pre_hook(lambda _m, args: self._keep(name, args[0]))
        )

    def _keep(self, name: str, value: torch.Tensor) -> None:
        if name in self.values:
            raise RuntimeError(f"{name} was computed twice")
        self.values[name] = value.detach().clone()

    def _keep_positions(self, _module, _args, kwargs) -> None:
        if kwargs.get("position_ids") is not None:
            self._keep("position_ids", kwargs["position_ids"])

    def remove(self) -> None:
        """Takes the hooks off again."""
        for handle in self._handles:
            handle.remove()


@torch.inference_mode()
def trace(
    model: Qwen3VLForConditionalGeneration,
    processor,
    images: list[str | pathlib.Path],
    prompt: str,
    max_new_tokens: int = 0,
    all_logits: bool = False,
) -> Trace:
    """Runs one prompt and returns every stage's value."""
    dtype = model.dtype
    inputs = encode(processor, [open_picture(path) for path in images], prompt)
    length = inputs["input_ids"].shape[1]
    if int(inputs["attention_mask"].sum()) != length:
        raise RuntimeError("a single prompt was padded")

    recorder = Recorder(model)
    try:
        output = model(
            **inputs, use_cache=False, logits_to_keep=0 if all_logits else min(LAST_LOGITS, length)
        )
    finally:
        recorder.remove()
    values = recorder.values

    tensors: dict[str, torch.Tensor] = {"input_ids": inputs["input_ids"][0]}
    if images:
        tensors["pixel_values"] = inputs["pixel_values"]
        tensors["grid_thw"] = inputs["image_grid_thw"]
        positions, delta = model.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=inputs["attention_mask"],
        )
        if not torch.equal(values.pop("position_ids"), positions):
            raise RuntimeError("the decoder was given other positions than get_rope_index's")
        added = added_positions(model.model.visual, inputs["image_grid_thw"], dtype)
        if not torch.equal(values["visual.patch_embed"] + added, values.pop("tower_input")):
            raise RuntimeError("patch_embed + pos_embed is not what the first block was given")
        values["visual.pos_embed"] = added
    else:
        positions = torch.arange(length).view(1, 1, -1).expand(3, 1, -1)
        delta = torch.zeros(1, 1, dtype=torch.int64)
    tensors["position_ids"] = positions[:, 0].clone()
    tensors["rope_delta"] = delta[0]

    values["inputs_embeds"] = values["layers.0.input"].clone()
    values["logits"] = output.logits
    for name, value in values.items():
        value = value[0] if value.dim() == 3 else value  # drop the batch axis
        tensors[name] = value.to(torch.float32)

    result = Trace(tensors, str(dtype).removeprefix("torch."), [], [])
    if max_new_tokens > 0:
        ids, best = generate(model, inputs, max_new_tokens)
        tensors["generated"] = ids.clone()
        for first, second in best:
            result.top_logits.append(first)
            result.top_gaps.append(first - second)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="the reference's `espalier trace`")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--image", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--adapter", type=pathlib.Path, help="an adapter that peft puts on the model")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--max-new-tokens", type=int, default=0)
    parser.add_argument("--all-logits", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = load_model(arguments.model, DTYPES[arguments.dtype])
    if arguments.adapter:
        model = add_adapter(model, arguments.adapter)
    result = trace(
        model,
        load_processor(arguments.model),
        arguments.image,
        arguments.prompt,
        arguments.max_new_tokens,
        arguments.all_logits,
    )
    result.save(arguments.out)


if __name__ == "__main__":
    main()
