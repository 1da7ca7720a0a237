# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/stages: single stages of the reference on many inputs.

    positions.json      transformers' get_rope_index on random prompts: ids, grids, position_ids,
                        rope_delta
    smart_resize.json   the reference's size arithmetic: h, w, factor, min_pixels, max_pixels and
                        the result, or null where it refuses
    pixels.safetensors  {k}.image    [h, w, 3] uint8  a picture
                        {k}.resized  [3, H, W] uint8  what the reference resizes it to
                        {k}.rows     [N, 1536] uint8  its patches, for some k, before normalization
                        normalized   [256] float32    what normalization makes of each byte value
    kernels.safetensors the elementwise chains in bfloat16, where each rounding shows; eps is 1e-6
                        rms_norm.{x,weight,y}                      x [T, D]
                        norm_and_rotate.{x,weight,cos,sin,y}       x [T, heads, D]
                        rotate.{x,cos,sin,y}     (vision)          x [N, heads, D], angles float32
                        swiglu.{gate,up,y}, gelu_tanh.{x,y}, gelu_erf.{x,y}

Running it again gives the same bytes.

    python make_stage_fixtures.py [--out tests/fixtures/stages]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random

import reference  # first: it makes torchvision importable

import numpy as np
import PIL.Image
import torch
import transformers
from transformers import Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLModel
from transformers.image_utils import SizeDict
from transformers.activations import ACT2FN
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
from transformers.models.qwen3_vl import modeling_qwen3_vl as modeling

HERE = pathlib.Path(__file__).resolve().parent
VISION_START, VISION_END, IMAGE_PAD = 265, 266, 268


def write_rows(path: pathlib.Path, head: dict, key: str, rows: list) -> None:
    """JSON with one row of the list a line."""
    text = json.dumps(head)[:-1] + f', "{key}": [\n'
    text += ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_text(text + "\n]}\n", encoding="utf-8")


def make_positions(path: pathlib.Path) -> None:
    """Prompts of none to four pictures with random grids, text between them."""
    with torch.device("meta"):
        model = Qwen3VLModel(
            Qwen3VLConfig(
                text_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                 num_attention_heads=1, num_key_value_heads=1, head_dim=8,
                                 vocab_size=288),
                vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=1,
                                   out_hidden_size=8, num_position_embeddings=4,
                                   deepstack_visual_indexes=[0]),
                image_token_id=IMAGE_PAD,
            )
        )
    chance = random.Random(1)
    rows = []
    for k in range(40):
        ids = [chance.randrange(256) for _ in range(chance.randint(0 if k % 2 else 1, 8))]
        grids = []
        for _ in range(k % 5):
            grid = [1, 2 * chance.randint(1, 5), 2 * chance.randint(1, 5)]
            if chance.random() < 0.2:
                grid = [1, 2, 2 * chance.randint(8, 16)]
            grids.append(grid)
            ids += [VISION_START] + [IMAGE_PAD] * (grid[1] * grid[2] // 4) + [VISION_END]
            ids += [chance.randrange(256) for _ in range(chance.randint(0, 3))]
        ids += [chance.randrange(256) for _ in range(chance.randint(0, 10))]
        input_ids = torch.tensor([ids])
        positions, delta = model.get_rope_index(
            input_ids,
            mm_token_type_ids=(input_ids == IMAGE_PAD).int(),
            image_grid_thw=torch.tensor(grids) if grids else None,
        )
        rows.append(
            {
                "ids": ids,
                "grids": grids,
                "position_ids": positions[:, 0].tolist(),
                "rope_delta": int(delta),
            }
        )
    write_rows(path, {"image_token_id": IMAGE_PAD, "spatial_merge_size": 2}, "prompts", rows)


def make_smart_resize(path: pathlib.Path) -> None:
    """Released and small limits, sides of every size, and the ties that rounding decides."""
    chance = random.Random(2)
    sizes = [(1, 1), (1, 200), (1, 201), (200, 1), (201, 1), (16, 16), (48, 80), (10, 1000),
             (336, 336), (304, 400), (272, 240), (720, 1280), (1080, 1920), (4000, 6000),
             (5000, 5000), (768, 768), (20000, 100), (30000, 40000), (3, 500), (480, 640)]
    while len(sizes) < 120:
        height = int(10 ** chance.uniform(0, 4.3))
        sizes.append((height, max(1, int(height * 10 ** chance.uniform(-1.2, 1.2)))))
    for halves in range(1, 40, 2):  # (2 k + 1) / 2 multiples of 32: ties
        sizes.append((16 * halves, 16 * (halves + 2 * chance.randint(0, 9))))
    rows = []
    for k, (height, width) in enumerate(sizes):
        limits = (65536, 16777216) if k < 20 or k % 2 else (4096, 65536)
        try:
            result = list(smart_resize(height, width, 32, *limits))
        except ValueError:
            result = None
        rows.append([height, width, *limits, result])
    columns = ["height", "width", "min_pixels", "max_pixels", "[height, width] or null"]
    write_rows(path, {"factor": 32, "columns": columns}, "rows", rows)


def pictures() -> list[tuple[np.ndarray, tuple[int, int] | None]]:
    """Small pictures [h, w, 3] and target (height, width); None: as smart_resize says."""
    chance = np.random.Generator(np.random.PCG64(3))

    def noise(height: int, width: int) -> np.ndarray:
        return chance.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def smooth(height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / 9 + c) + np.cos(y / (7 + c)) for c in range(3)]
        return np.clip(127.5 + 70 * np.stack(waves, -1), 0, 255).astype(np.uint8)

    def checks(height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width]
        return np.repeat((((x // 3 + y // 5) % 2) * 255).astype(np.uint8)[..., None], 3, -1)

    return [
        (noise(1, 1), None),
        (noise(1, 60), None),
        (noise(40, 1), None),
        (noise(64, 96), None),  # unchanged
        (noise(64, 70), None),  # one side unchanged, the other shrinks
        (smooth(45, 96), None),
        (smooth(75, 130), None),
        (smooth(20, 30), None),  # grows
        (checks(50, 80), None),  # edges between 0 and 255: overshoot is clamped
        (noise(150, 110), (64, 32)),  # shrinks much
        (noise(33, 47), (71, 20)),  # grows one way, shrinks the other; no patches
        (checks(24, 24), (25, 23)),
    ]


def make_pixels(path: pathlib.Path) -> None:
    processor = Qwen2VLImageProcessor(
        size={"shortest_edge": 4096, "longest_edge": 16384},
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    # A picture of 64 x 64 that holds every byte value, unchanged by resizing.
    ramp = np.arange(64 * 64, dtype=np.int64).reshape(64, 64, 1) % 256
    ramp = np.repeat(ramp.astype(np.uint8), 3, -1)
    values = processor(PIL.Image.fromarray(ramp), return_tensors="pt")["pixel_values"]
    levels = torch.round(values * 127.5 + 127.5).to(torch.int64)
    normalized = torch.zeros(256)
    normalized[levels.flatten()] = values.flatten()
    if not torch.equal(normalized[levels], values):
        raise RuntimeError("normalization does not depend on the byte value alone")

    tensors = {"normalized": normalized}
    for k, (picture, target) in enumerate(pictures()):
        planar = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        height, width = target or smart_resize(*picture.shape[:2], 32, 4096, 16384)
        resized = super(Qwen2VLImageProcessor, processor).resize(
            planar, SizeDict(height=height, width=width), processor.resample
        )
        tensors[f"{k}.image"] = torch.from_numpy(picture)
        tensors[f"{k}.resized"] = resized
        print(f"  {k}: {picture.shape[:2]} -> {(height, width)}")
        if target is None:
            output = processor(PIL.Image.fromarray(picture), return_tensors="pt")
            if output["image_grid_thw"].tolist() != [[1, height // 16, width // 16]]:
                raise RuntimeError("another grid than smart_resize's")
            rows = torch.round(output["pixel_values"] * 127.5 + 127.5).to(torch.uint8)
            if not torch.equal(normalized[rows.long()], output["pixel_values"]):
                raise RuntimeError("rows do not recover pixel_values")
            if sorted(rows[:, :256].flatten().tolist()) != sorted(resized[0].flatten().tolist()):
                raise RuntimeError("the processor resizes otherwise than its resize")
            if k in (1, 3, 6):
                tensors[f"{k}.rows"] = rows
    reference.save_sorted(tensors, path, {"format": "pt"})


def make_kernels(path: pathlib.Path) -> None:
    """The reference's own modules on bfloat16 values."""
    chance = np.random.Generator(np.random.PCG64(4))

    def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.from_numpy(chance.standard_normal(shape)).to(torch.float32).to(dtype)

    def angles(rows: int, dim: int) -> torch.Tensor:
        half = torch.from_numpy(chance.uniform(-300, 300, (rows, dim // 2))).to(torch.float32)
        return torch.cat([half, half], -1)

    def norm(weight: torch.Tensor) -> torch.nn.Module:
        module = modeling.Qwen3VLTextRMSNorm(weight.numel(), eps=1e-6)
        module.weight = torch.nn.Parameter(weight, requires_grad=False)
        return module

    tensors = {}

    x, weight = normal(7, 160), 1 + normal(160) / 4
    x[3] *= 1e-3  # rows where eps counts and where values are large
    x[4] *= 300
    tensors.update({"rms_norm.x": x, "rms_norm.weight": weight, "rms_norm.y": norm(weight)(x)})

    x, weight, turn = normal(5, 3, 64), 1 + normal(64) / 4, angles(5, 64)
    cos, sin = turn.cos().to(torch.bfloat16), turn.sin().to(torch.bfloat16)
    heads_first = norm(weight)(x).transpose(0, 1)[None]
    y, _ = modeling.apply_rotary_pos_emb(heads_first, heads_first, cos[None], sin[None])
    tensors.update({"norm_and_rotate.x": x, "norm_and_rotate.weight": weight,
                    "norm_and_rotate.cos": cos, "norm_and_rotate.sin": sin,
                    "norm_and_rotate.y": y[0].transpose(0, 1).contiguous()})

    x, turn = normal(6, 2, 48), angles(6, 48)
    y, _ = modeling.apply_rotary_pos_emb_vision(x, x, turn.cos(), turn.sin())
    tensors.update({"rotate.x": x, "rotate.cos": turn.cos(), "rotate.sin": turn.sin(),
                    "rotate.y": y})

    gate, up = 3 * normal(5, 112), normal(5, 112)
    tensors.update({"swiglu.gate": gate, "swiglu.up": up,
                    "swiglu.y": ACT2FN["silu"](gate) * up})
    x = torch.cat([3 * normal(300), torch.tensor([0.0, -0.0, 9.0, -9.0, 80.0, -80.0]).bfloat16()])
    tensors.update({"gelu_tanh.x": x, "gelu_tanh.y": ACT2FN["gelu_pytorch_tanh"](x),
                    "gelu_erf.x": x.clone(), "gelu_erf.y": torch.nn.GELU()(x)})
    reference.save_sorted(tensors, path, {"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=HERE.parent / "fixtures" / "stages"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_positions(arguments.out / "positions.json")
    make_smart_resize(arguments.out / "smart_resize.json")
    make_pixels(arguments.out / "pixels.safetensors")
    make_kernels(arguments.out / "kernels.safetensors")


if __name__ == "__main__":
    main()
