#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the checkpoint that the demo model's training starts from: a vocabulary of its own, and
random weights.

  make_start.py TEMPLATE OUT --corpus FILE.jsonl... [--layers N] [--seed N]

TEMPLATE is a checkpoint of `espalier init --preset tiny`: its chat template, its added tokens and
its processors' configurations are taken over.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
from safetensors import TensorSpec, serialize_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

WIDTH = 192
HEADS, KV_HEADS, HEAD_DIM = 6, 2, 32
FEED_FORWARD = 384
VISION_WIDTH, VISION_DEPTH, VISION_FEED_FORWARD = 96, 4, 384
PATCH = 3 * 2 * 16 * 16


# Qwen's rule of what a merge may join: words, single digits, runs of other signs, spaces.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(added, corpus, size):
    """Merges that are learned from the corpus behind the 256 bytes, then the added tokens."""
    bytes_first = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), behavior="isolated"), bytes_first])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=3,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))
    for token in added:
        entry = AddedToken(token["content"], normalized=False, special=token["special"])
        (tokenizer.add_special_tokens if token["special"] else tokenizer.add_tokens)([entry])
    return tokenizer


def renumbered(config, numbers):
    """The tokenizer's configuration with the added tokens' new numbers."""
    added = config["added_tokens_decoder"]
    return config | {"added_tokens_decoder": {str(numbers[int(i)]): token for i, token in added.items()}}


def shifted(value, shift):
    """A configuration whose token numbers are the new ones."""
    if isinstance(value, dict):
        return {k: shift_of(v, shift) if k.endswith("token_id") else shifted(v, shift) for k, v in value.items()}
    return value


def shift_of(numbers, shift):
    if isinstance(numbers, list):
        return [shift[n] for n in numbers]
    return None if numbers is None else shift[numbers]


def make_config(template, shift, layers, vocabulary):
    config = shifted(json.loads((template / "config.json").read_text()), shift)
    config["tie_word_embeddings"] = True
    config["text_config"] |= {
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "intermediate_size": FEED_FORWARD,
        "vocab_size": vocabulary,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }
    rope = {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [6, 5, 5]}
    for key in ("rope_scaling", "rope_parameters"):
        if key in config["text_config"]:
            config["text_config"][key] = rope | ({"rope_theta": 10000.0} if key == "rope_parameters" else {})
    config["vision_config"] |= {
        "hidden_size": VISION_WIDTH,
        "depth": VISION_DEPTH,
        "num_heads": 3,
        "intermediate_size": VISION_FEED_FORWARD,
        "out_hidden_size": WIDTH,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1, 2],
    }
    return config


def make_weights(layers, vocabulary, seed):
    """Normal with deviation 0.02; what ends a residual branch is smaller by sqrt(2 layers)."""
    draw = np.random.default_rng(seed)
    weights = {}

    def matrix(name, rows, columns, depth=None):
        deviation = 0.02 if depth is None else 0.02 / np.sqrt(2 * depth)
        weights[name] = draw.normal(0.0, deviation, (rows, columns)).astype(np.float32)

    def ones(name, size):
        weights[name] = np.ones(size, np.float32)

    def zeros(name, size):
        weights[name] = np.zeros(size, np.float32)

    text = "model.language_model"
    matrix(f"{text}.embed_tokens.weight", vocabulary, WIDTH)
    for i in range(layers):
        layer = f"{text}.layers.{i}"
        ones(f"{layer}.input_layernorm.weight", WIDTH)
        ones(f"{layer}.post_attention_layernorm.weight", WIDTH)
        ones(f"{layer}.self_attn.q_norm.weight", HEAD_DIM)
        ones(f"{layer}.self_attn.k_norm.weight", HEAD_DIM)
        matrix(f"{layer}.self_attn.q_proj.weight", HEADS * HEAD_DIM, WIDTH)
        matrix(f"{layer}.self_attn.k_proj.weight", KV_HEADS * HEAD_DIM, WIDTH)
        matrix(f"{layer}.self_attn.v_proj.weight", KV_HEADS * HEAD_DIM, WIDTH)
        matrix(f"{layer}.self_attn.o_proj.weight", WIDTH, HEADS * HEAD_DIM, layers)
        matrix(f"{layer}.mlp.gate_proj.weight", FEED_FORWARD, WIDTH)
        matrix(f"{layer}.mlp.up_proj.weight", FEED_FORWARD, WIDTH)
        matrix(f"{layer}.mlp.down_proj.weight", WIDTH, FEED_FORWARD, layers)
    ones(f"{text}.norm.weight", WIDTH)

    def linear(name, rows, columns, depth=None):
        matrix(f"{name}.weight", rows, columns, depth)
        zeros(f"{name}.bias", rows)

    def layer_norm(name, size):
        ones(f"{name}.weight", size)
        zeros(f"{name}.bias", size)

    tower = "model.visual"
    linear(f"{tower}.patch_embed.proj", VISION_WIDTH, PATCH)
    weights[f"{tower}.patch_embed.proj.weight"].shape = (VISION_WIDTH, 3, 2, 16, 16)
    matrix(f"{tower}.pos_embed.weight", 64, VISION_WIDTH)
    for i in range(VISION_DEPTH):
        block = f"{tower}.blocks.{i}"
        layer_norm(f"{block}.norm1", VISION_WIDTH)
        layer_norm(f"{block}.norm2", VISION_WIDTH)
        linear(f"{block}.attn.qkv", 3 * VISION_WIDTH, VISION_WIDTH)
        linear(f"{block}.attn.proj", VISION_WIDTH, VISION_WIDTH, VISION_DEPTH)
        linear(f"{block}.mlp.linear_fc1", VISION_FEED_FORWARD, VISION_WIDTH)
        linear(f"{block}.mlp.linear_fc2", VISION_WIDTH, VISION_FEED_FORWARD, VISION_DEPTH)
    mergers = {f"{tower}.merger": VISION_WIDTH}
    mergers |= {f"{tower}.deepstack_merger_list.{i}": 4 * VISION_WIDTH for i in range(3)}
    for merger, normalized in mergers.items():
        layer_norm(f"{merger}.norm", normalized)
        linear(f"{merger}.linear_fc1", 4 * VISION_WIDTH, 4 * VISION_WIDTH)
        linear(f"{merger}.linear_fc2", WIDTH, 4 * VISION_WIDTH)
    return weights


def texts(files):
    for name in files:
        for line in open(name, encoding="utf-8"):
            for message in json.loads(line)["messages"]:
                yield message["content"].removeprefix("<image>")


def save_bfloat16(weights, path):
    """Rounds to the nearest, ties to even; numpy has no such type."""

    def rounded(weight):
        bits = np.ascontiguousarray(weight).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")

    raw = {name: rounded(weight) for name, weight in sorted(weights.items())}
    tensors = {
        name: TensorSpec(dtype="bfloat16", shape=list(bits.shape), data_ptr=bits.ctypes.data, data_len=bits.nbytes)
        for name, bits in raw.items()
    }
    serialize_file(tensors, str(path), metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=1024, help="most tokens before the added ones")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    tokenizer_config = json.loads((arguments.template / "tokenizer_config.json").read_text())
    added = tokenizer_config["added_tokens_decoder"]
    tokenizer = make_tokenizer(added.values(), texts(arguments.corpus), arguments.vocabulary)
    shift = {int(i): tokenizer.token_to_id(token["content"]) for i, token in added.items()}
    size = tokenizer.get_vocab_size()

    arguments.out.mkdir(parents=True)

    def write(name, content):
        (arguments.out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    for name in ("chat_template.json", "video_preprocessor_config.json"):
        shutil.copy(arguments.template / name, arguments.out / name)
    # Pictures of 64 x 64 are read as they are: 4 visual tokens.
    processor = json.loads((arguments.template / "preprocessor_config.json").read_text())
    write("preprocessor_config.json", processor | {"size": {"shortest_edge": 64 * 64, "longest_edge": 1024 * 1024}})
    write("generation_config.json", shifted(json.loads((arguments.template / "generation_config.json").read_text()), shift))
    write("tokenizer_config.json", renumbered(tokenizer_config, shift))
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    config = make_config(arguments.template, shift, arguments.layers, size)
    write("config.json", config)
    weights = make_weights(arguments.layers, size, arguments.seed)
    save_bfloat16(weights, arguments.out / "model.safetensors")
    print(f"{size} tokens, {sum(w.size for w in weights.values()):,} parameters")


if __name__ == "__main__":
    main()
