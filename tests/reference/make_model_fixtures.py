# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/models: small random checkpoints, pictures, and the reference's values.

Each folder is a whole Hugging Face checkpoint with, besides,

    *.png                 the pictures of the case
    case.json             images, prompt, dtype, max_new_tokens
    expected.safetensors  what the reference computes (see reference.py)

Running it again gives the same bytes. The weights are not those of a fresh initialization, which
hides mistakes (norms of 1 and biases of 0 do nothing, small matrices make attention uniform and
GELU linear), but wide ones that keep every stage's values near 1.

    python make_model_fixtures.py [--out tests/fixtures/models] [NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
import tempfile

import compare
import reference  # before transformers: it makes torchvision importable

import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
import transformers
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATE = HERE / "chat_template.jinja"
VOCAB_SIZE = 288
FIRST_ADDED = 256
# Qwen's added tokens in their order; the flag says whether decoding may leave them out.
ADDED_TOKENS = [
    ("<|endoftext|>", True),
    ("<|im_start|>", True),
    ("<|im_end|>", True),
    ("<|object_ref_start|>", True),
    ("<|object_ref_end|>", True),
    ("<|box_start|>", True),
    ("<|box_end|>", True),
    ("<|quad_start|>", True),
    ("<|quad_end|>", True),
    ("<|vision_start|>", True),
    ("<|vision_end|>", True),
    ("<|vision_pad|>", True),
    ("<|image_pad|>", True),
    ("<|video_pad|>", True),
    ("<tool_call>", False),
    ("</tool_call>", False),
    ("<|fim_prefix|>", False),
    ("<|fim_middle|>", False),
    ("<|fim_suffix|>", False),
    ("<|fim_pad|>", False),
    ("<|repo_name|>", False),
    ("<|file_sep|>", False),
    ("<tool_response>", False),
    ("</tool_response>", False),
    ("<think>", False),
    ("</think>", False),
]
TOKEN_ID = {content: FIRST_ADDED + k for k, (content, _) in enumerate(ADDED_TOKENS)}
PIXEL_LIMITS = {"longest_edge": 65536, "shortest_edge": 4096}


@dataclasses.dataclass
class Picture:
    """A picture to be drawn, width by height."""

    name: str
    width: int
    height: int


@dataclasses.dataclass
class Case:
    """One fixture: a checkpoint and the prompt that is run through it."""

    name: str
    seed: int
    text: dict
    vision: dict
    tied: bool
    pictures: list[Picture]
    prompt: str
    max_new_tokens: int
    dtype: str = "float32"
    resaved: bool = False  # as transformers 5 saves it, not as released
    shards: int = 1
    gain: float = 1.2  # deviation of a matrix: gain / sqrt(inputs)


CASES = [
    # Two pictures of different grids; the released style of every file; the 48 x 48 table.
    Case(
        name="gqa_tied",
        seed=22,
        text=dict(hidden_size=48, intermediate_size=80, num_hidden_layers=4,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                  mrope_section=[6, 5, 5]),
        vision=dict(hidden_size=32, intermediate_size=56, num_heads=2, depth=4,
                    deepstack_visual_indexes=[0, 1, 3], num_position_embeddings=2304),
        tied=True,
        pictures=[Picture("wide.png", 120, 36), Picture("tall.png", 64, 96)],
        prompt="What differs between the two?",
        max_new_tokens=20,
    ),
    # A strip of 2 x 24 patches; every file as transformers 5 saves it.
    Case(
        name="mha_resaved",
        seed=53,
        text=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=4,
                  num_attention_heads=3, num_key_value_heads=3, head_dim=16,
                  mrope_section=[4, 2, 2]),
        vision=dict(hidden_size=24, intermediate_size=56, num_heads=1, depth=3,
                    deepstack_visual_indexes=[0, 2], num_position_embeddings=400),
        tied=False,
        pictures=[Picture("strip.png", 520, 15)],
        prompt="Read the strip.",
        max_new_tokens=20,
        resaved=True,
    ),
    # bfloat16 in three shards; a small picture that is enlarged.
    Case(
        name="sharded_bf16",
        seed=170,
        text=dict(hidden_size=64, intermediate_size=112, num_hidden_layers=4,
                  num_attention_heads=8, num_key_value_heads=2, head_dim=32,
                  mrope_section=[8, 4, 4]),
        vision=dict(hidden_size=32, intermediate_size=64, num_heads=4, depth=4,
                    deepstack_visual_indexes=[1, 2, 3], num_position_embeddings=576),
        tied=True,
        pictures=[Picture("small.png", 50, 30)],
        prompt="Describe this image.",
        max_new_tokens=16,
        dtype="bfloat16",
        shards=3,
    ),
    # Much text, a head of 24 channels, one level, and an answer that ends by itself.
    Case(
        name="long_text",
        seed=44,
        text=dict(hidden_size=40, intermediate_size=64, num_hidden_layers=3,
                  num_attention_heads=6, num_key_value_heads=3, head_dim=24,
                  mrope_section=[6, 3, 3]),
        vision=dict(hidden_size=24, intermediate_size=48, num_heads=2, depth=3,
                    deepstack_visual_indexes=[1], num_position_embeddings=256),
        tied=False,
        pictures=[Picture("one_side.png", 96, 70)],
        prompt="Count the shapes \u2014 circles, rectangles, lines \u2014 and say where each one "
               "lies.\n\n1. Na\u00efve answer first;\n2. then \u6570\u3048\u3066\u304f\u3060\u3055"
               "\u3044.  Don't guess: 3 \u00d7 4 = 12, isn't it?\r\n\tReply with a number.",
        max_new_tokens=24,
    ),
]


def byte_symbols() -> list[str]:
    """GPT-2's printable character for every byte value."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in symbols)
    symbols.update({byte: chr(256 + k) for k, byte in enumerate(others)})
    return [symbols[byte] for byte in range(256)]


def write_json(path: pathlib.Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(folder: pathlib.Path) -> None:
    """256 byte tokens without merges, and Qwen's added tokens after them, in the released style."""
    write_json(folder / "vocab.json", {symbol: k for k, symbol in enumerate(byte_symbols())})
    (folder / "merges.txt").write_text("", encoding="utf-8")
    template = TEMPLATE.read_text(encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(FIRST_ADDED + k): {
                    "content": content,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": special,
                }
                for k, (content, special) in enumerate(ADDED_TOKENS)
            },
            "additional_special_tokens": [c for c, special in ADDED_TOKENS[1:] if special],
            "bos_token": None,
            "chat_template": template,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 262144,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    write_json(folder / "chat_template.json", {"chat_template": template})


def write_preprocessors(folder: pathlib.Path) -> None:
    common = {
        "size": PIXEL_LIMITS,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }
    write_json(
        folder / "preprocessor_config.json",
        {**common, "image_processor_type": "Qwen2VLImageProcessorFast"},
    )
    write_json(
        folder / "video_preprocessor_config.json",
        {**common, "video_processor_type": "Qwen3VLVideoProcessor"},
    )


def config_of(case: Case) -> dict:
    """config.json in the released style."""
    text = dict(case.text)
    section = text.pop("mrope_section")
    assert sum(section) == text["head_dim"] // 2
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": TOKEN_ID["<|image_pad|>"],
        "model_type": "qwen3_vl",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": TOKEN_ID["<|endoftext|>"],
            "dtype": case.dtype,
            "eos_token_id": TOKEN_ID["<|im_end|>"],
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 262144,
            "model_type": "qwen3_vl_text",
            "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": section,
                "rope_type": "default",
            },
            "rope_theta": 5000000,
            "tie_word_embeddings": case.tied,
            "use_cache": True,
            "vocab_size": VOCAB_SIZE,
            **text,
        },
        "tie_word_embeddings": case.tied,
        "transformers_version": "4.57.0.dev0",
        "video_token_id": TOKEN_ID["<|video_pad|>"],
        "vision_config": {
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "initializer_range": 0.02,
            "model_type": "qwen3_vl",
            "out_hidden_size": text["hidden_size"],
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            **case.vision,
        },
        "vision_end_token_id": TOKEN_ID["<|vision_end|>"],
        "vision_start_token_id": TOKEN_ID["<|vision_start|>"],
    }


def generation_config_of(case: Case) -> dict:
    return {
        "bos_token_id": TOKEN_ID["<|endoftext|>"],
        "pad_token_id": TOKEN_ID["<|endoftext|>"],
        "do_sample": True,
        "eos_token_id": [TOKEN_ID["<|im_end|>"], TOKEN_ID["<|endoftext|>"]],
        "top_k": 20,
        "top_p": 0.8,
        "repetition_penalty": 1.0,
        "temperature": 0.7,
        "transformers_version": "4.56.0",
    }


def weight(case: Case, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor's values, which depend on the case's seed and the tensor's name alone."""
    digest = hashlib.sha256(f"{case.seed} {case.name} {name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    normal = generator.standard_normal(shape)
    if name.endswith("bias"):
        value = 0.2 * normal
    elif name.endswith(("q_norm.weight", "k_norm.weight")):
        value = 1.3 + 0.3 * normal  # more than 1: attention that chooses
    elif "norm" in name:
        value = 1 + 0.3 * normal
    elif name.endswith("pos_embed.weight"):
        value = 0.5 * normal
    elif name.endswith("embed_tokens.weight"):
        # Small against what the layers add, so that a tied head does not repeat its input.
        value = 0.3 * normal
    else:
        value = case.gain / math.sqrt(math.prod(shape[1:])) * normal
    return torch.from_numpy(value).to(torch.float32).to(reference.DTYPES[case.dtype])


def weights_of(case: Case, config: dict) -> dict[str, torch.Tensor]:
    """Every tensor that the checkpoint must have."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**json.loads(json.dumps(config))))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if case.tied:
        shapes.pop("lm_head.weight", None)
    return {name: weight(case, name, shape) for name, shape in shapes.items()}


def write_weights(folder: pathlib.Path, weights: dict[str, torch.Tensor], shards: int) -> None:
    """One file, or shards of about the same number of tensors with an index."""
    if shards == 1:
        reference.save_sorted(weights, folder / "model.safetensors", {"format": "pt"})
        return
    names = list(weights)
    weight_map = {}
    for k in range(shards):
        part = names[k * len(names) // shards : (k + 1) * len(names) // shards]
        file = f"model-{k + 1:05}-of-{shards:05}.safetensors"
        reference.save_sorted({n: weights[n] for n in part}, folder / file, {"format": "pt"})
        weight_map.update({name: file for name in part})
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))},
    )


def draw(path: pathlib.Path, picture: Picture, seed: int) -> None:
    """Shapes over a gradient, with noise: sharp edges and no symmetry."""
    generator = np.random.Generator(np.random.PCG64(seed))
    width, height = picture.width, picture.height
    x = np.linspace(0, 1, width)[None, :, None]
    y = np.linspace(0, 1, height)[:, None, None]
    colours = generator.uniform(0, 255, (3, 3))
    ground = colours[0] * (1 - x) + colours[1] * x * (1 - y) + colours[2] * y
    image = PIL.Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    for k in range(8):
        corners = generator.uniform(-0.2, 1.2, (2, 2)) * (width, height)
        left, top = corners.min(0)
        right, bottom = corners.max(0)
        colour = tuple(int(c) for c in generator.integers(0, 256, 3))
        box = (int(left), int(top), int(right), int(bottom))
        if k % 3 == 0:
            pen.ellipse(box, fill=colour)
        elif k % 3 == 1:
            pen.rectangle(box, fill=colour)
        else:
            pen.line(box, fill=colour, width=3)
    noise = generator.integers(-20, 21, (height, width, 3))
    pixels = np.clip(np.asarray(image).astype(np.int64) + noise, 0, 255).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path, optimize=True)


def write_checkpoint(folder: pathlib.Path, case: Case) -> None:
    config = config_of(case)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", generation_config_of(case))
    write_tokenizer(folder)
    write_preprocessors(folder)
    write_weights(folder, weights_of(case, config), case.shards)


def write_resaved(folder: pathlib.Path, case: Case) -> None:
    """The same checkpoint, loaded and saved again by transformers."""
    with tempfile.TemporaryDirectory() as released:
        write_checkpoint(pathlib.Path(released), case)
        model = reference.load_model(released, reference.DTYPES[case.dtype])
        processor = reference.load_processor(released)
        model.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        processor.save_pretrained(folder)


def check(case: Case, folder: pathlib.Path, result: reference.Trace) -> None:
    """Prints how telling the fixture is; fails where it tells too little."""
    tensors = result.tensors
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or name == "pixel_values":
            continue
        if not torch.isfinite(tensor).all():
            raise RuntimeError(f"{case.name}: {name} is not finite")
    rms = {n: float(t.pow(2).mean().sqrt()) for n, t in tensors.items() if t.dtype == torch.float32}
    print("  rms:", ", ".join(f"{n} {v:.2f}" for n, v in rms.items() if not n.endswith("input")))

    # Rounding of another attention kernel: what parity can at best be.
    other = reference.trace(
        reference.load_model(folder, reference.DTYPES[case.dtype], "eager"),
        reference.load_processor(folder),
        [folder / p.name for p in case.pictures],
        case.prompt,
    ).tensors
    ratio = max(
        (float((t - other[n]).abs().max()) / rms[n], n) for n, t in tensors.items() if n in rms
    )
    angle = max(
        (compare.cosine_distance(other[n], t), n) for n, t in tensors.items() if n in rms
    )
    print(f"  eager against sdpa: max/rms {ratio[0]:.1e} at {ratio[1]}, "
          f"1-cos {angle[0]:.1e} at {angle[1]}")

    generated = tensors["generated"].tolist()
    gap = min(result.top_gaps)
    print(f"  generated ({len(set(generated))} distinct): {generated}")
    print(f"  smallest top-2 gap {gap:.4f}, logits' rms {rms['logits']:.2f}")
    if len(set(generated)) < 6:
        raise RuntimeError(f"{case.name}: the greedy tokens hardly vary: choose another seed")
    if gap < (0.02 if case.dtype == "float32" else 0.08) * rms["logits"]:
        raise RuntimeError(f"{case.name}: a near-tie: choose another seed")


def make(case: Case, root: pathlib.Path) -> None:
    folder = root / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(case.name)
    (write_resaved if case.resaved else write_checkpoint)(folder, case)
    for k, picture in enumerate(case.pictures):
        draw(folder / picture.name, picture, 1000 * case.seed + k)
    write_json(
        folder / "case.json",
        {
            "images": [picture.name for picture in case.pictures],
            "prompt": case.prompt,
            "dtype": case.dtype,
            "max_new_tokens": case.max_new_tokens,
        },
    )
    result = reference.trace(
        reference.load_model(folder, reference.DTYPES[case.dtype]),
        reference.load_processor(folder),
        [folder / picture.name for picture in case.pictures],
        case.prompt,
        case.max_new_tokens,
    )
    check(case, folder, result)
    result.save(folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"  grids {result.tensors['grid_thw'].tolist()}, {size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="cases to make (all)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=HERE.parent / "fixtures" / "models"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for case in CASES:
        if not arguments.names or case.name in arguments.names:
            make(case, arguments.out)


if __name__ == "__main__":
    main()
