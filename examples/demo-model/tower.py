#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Teaches a model's vision tower to see, with heads that are thrown away.

  tower.py MODEL --strips DIR... --shapes DIR... --out OUT [--steps N] [--rate R] [--seed N]

Strips are pictures of 128 x 32 with one line of signs: a head on every level's features spells the
line (CTC), eight places a visual token. Shapes are pictures of 64 x 64: a head names the objects in
them, anywhere in four cells a visual token, another the one shape and colour of easy-VQA. A decoder
learns from some ten tokens a picture, these heads from every feature, without a decoder's cost.

A tower of four blocks is first made one of eight, with a block that begins as the identity behind
each; a tower of eight is trained further. OUT is MODEL with the new tower.
"""

import argparse
import json
import pathlib
import re
import shutil

import numpy as np
import torch
from grow import read, write
from PIL import Image
from torch import nn
from torch.nn import functional as F

PREFIX = "model.visual."
WIDTH, HEADS, HEAD_DIM, OUT_WIDTH = 96, 3, 32, 192
DEPTH, LEVELS = 8, (1, 3, 5)
SIGNS = "0123456789+-*x><=?/,"
PLACES = 8  # of CTC, a visual token: 32 pixels hold up to five signs, equal neighbours need a gap
CELLS = 4
FAMILY = ("circle", "rectangle", "triangle")
STRIP, SHAPE = (2, 8), (4, 4)  # patches, high and wide
LEVEL_WEIGHTS = (1.0, 0.3, 0.3, 0.3)  # the last block's features, then the three levels'


# ---- the tower (transformers' modeling_qwen3_vl.py, for a batch of pictures of one size)
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({
            "linear_fc1": nn.Linear(WIDTH, 4 * WIDTH),
            "linear_fc2": nn.Linear(4 * WIDTH, WIDTH),
        })

    def forward(self, x, cos, sin):
        batch, places, _ = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(batch, places, 3, HEADS, HEAD_DIM).unbind(2)
        q, k = q * cos + turned(q) * sin, k * cos + turned(k) * sin
        scores = torch.einsum("bshd,bthd->bhst", q, k) * HEAD_DIM**-0.5
        weights = scores.float().softmax(-1).to(v.dtype)
        mixed = torch.einsum("bhst,bthd->bshd", weights, v).reshape(batch, places, WIDTH)
        x = x + self.attn["proj"](mixed)
        inner = F.gelu(self.mlp["linear_fc1"](self.norm2(x)), approximate="tanh")
        return x + self.mlp["linear_fc2"](inner)


def turned(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


class Merger(nn.Module):
    def __init__(self, norm_after):
        super().__init__()
        self.norm_after = norm_after
        self.norm = nn.LayerNorm(4 * WIDTH if norm_after else WIDTH, eps=1e-6)
        self.linear_fc1 = nn.Linear(4 * WIDTH, 4 * WIDTH)
        self.linear_fc2 = nn.Linear(4 * WIDTH, OUT_WIDTH)

    def forward(self, x):
        by_four = (x.shape[0], -1, 4 * WIDTH)
        x = self.norm(x.view(by_four)) if self.norm_after else self.norm(x).view(by_four)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Linear(3 * 16 * 16, WIDTH)})
        self.pos_embed = nn.Embedding(64, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.merger = Merger(norm_after=False)
        self.deepstack_merger_list = nn.ModuleList(Merger(norm_after=True) for _ in LEVELS)

    def forward(self, patches, grid):
        """[B, P, 768] -> the last block's features and each level's, [B, P / 4, 192]."""
        cos, sin, corners, shares = grid
        place = (self.pos_embed(corners) * shares[..., None]).sum(0)
        x = self.patch_embed["proj"](patches) + place.to(patches.dtype)
        levels = []
        for i, block in enumerate(self.blocks):
            x = block(x, cos.to(x.dtype), sin.to(x.dtype))
            if i in LEVELS:
                levels.append(self.deepstack_merger_list[len(levels)](x))
        return [self.merger(x), *levels]


def merge_order(x, high, wide):
    """Patches in the order of the model: the four of a visual token beside one another."""
    return x.reshape(high // 2, 2, wide // 2, 2).permute(0, 2, 1, 3).reshape(-1)


def grid_of(high, wide):
    """Rotations of the patches' rows and columns, and the table's corners and shares for each."""
    row, column = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
    row, column = merge_order(row, high, wide), merge_order(column, high, wide)
    frequency = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    angle = torch.cat((row[:, None] * frequency, column[:, None] * frequency), -1).repeat(1, 2)
    y, x = torch.linspace(0, 7, high)[row], torch.linspace(0, 7, wide)[column]
    top, left = y.long(), x.long()
    below, right, dy, dx = (top + 1).clamp(max=7), (left + 1).clamp(max=7), y - top, x - left
    corners = torch.stack((top * 8 + left, top * 8 + right, below * 8 + left, below * 8 + right))
    shares = torch.stack(((1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx))
    return angle.cos()[None, :, None], angle.sin()[None, :, None], corners, shares


def patches_of(pictures, high, wide):
    """uint8 [B, 16 high, 16 wide, 3] -> bfloat16 [B, P, 768]. Both frames of a still picture are the
    same: the sum of their weights sees one."""
    x = torch.from_numpy(pictures).float() / 127.5 - 1
    x = x.view(-1, high // 2, 2, 16, wide // 2, 2, 16, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(len(pictures), high * wide, 768).bfloat16()


# ---- weights in and out
def floats(entry, data):
    bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
    return torch.from_numpy(bits.view(np.float32).reshape(entry["shape"]).copy())


def deepened(weights):
    """A tower of four blocks with an identity behind each: what they add is zero at first."""
    if f"blocks.{DEPTH - 1}.norm1.weight" in weights:
        return weights
    out = {}
    for name, value in weights.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
        if not block:
            out[name] = value
            continue
        out[f"blocks.{2 * int(block[1])}.{block[2]}"] = value
        if block[2] in ("norm1.weight", "norm2.weight"):
            new = torch.ones_like(value)
        elif block[2] in ("attn.qkv.weight", "mlp.linear_fc1.weight"):
            new = torch.randn_like(value) * 0.05
        else:
            new = torch.zeros_like(value)
        out[f"blocks.{2 * int(block[1]) + 1}.{block[2]}"] = new
    return out


def tower_of(model):
    tensors = read(model / "model.safetensors")
    weights = {n.removeprefix(PREFIX): floats(*t) for n, t in tensors.items() if n.startswith(PREFIX)}
    frames = weights["patch_embed.proj.weight"]
    weights["patch_embed.proj.weight"] = frames.sum(2).reshape(WIDTH, -1)
    tower = Tower()
    tower.load_state_dict(deepened(weights))
    return tower


def save(tower, model, out):
    tensors = {n: t for n, t in read(model / "model.safetensors").items() if not n.startswith(PREFIX)}
    for name, value in tower.state_dict().items():
        if name == "patch_embed.proj.weight":
            value = (value / 2).reshape(WIDTH, 3, 1, 16, 16).expand(-1, -1, 2, -1, -1)
        data = value.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        tensors[PREFIX + name] = ({"dtype": "BF16", "shape": list(value.shape)}, data)
    shutil.copytree(model, out)
    write(dict(sorted(tensors.items())), out / "model.safetensors")
    config = json.loads((out / "config.json").read_text())
    config["vision_config"] |= {"depth": DEPTH, "deepstack_visual_indexes": list(LEVELS)}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


# ---- pictures and what is in them
def written(text):
    """The signs of a strip, from an equation of synth or from a strip's own text."""
    comparison = re.fullmatch(r"y = sign\((\d+) - (\d+)\)", text)
    return f"{comparison[1]}?{comparison[2]}" if comparison else text.removeprefix("y = ").replace(" ", "")


def labelled(folders):
    """(picture, source, answer) of the rows whose answer tells what is in the picture."""
    for folder in map(pathlib.Path, folders):
        for line in open(folder / "conversations.jsonl", encoding="utf-8"):
            row = json.loads(line)
            source, answer = row["source"], row["messages"][1]["content"]
            wanted = source in ("math/formalize", "scenes/entities") or source.startswith("read-")
            if wanted or (source == "easy-vqa" and answer not in ("yes", "no")):
                yield folder / row["images"][0], source, answer


def strips_of(folders):
    pictures, lines = [], []
    for path, _, answer in labelled(folders):
        picture = np.asarray(Image.open(path).convert("RGB"))
        if picture.shape == (32, 128, 3):  # a table is a square
            pictures.append(picture)
            lines.append(torch.tensor([SIGNS.index(sign) + 1 for sign in written(answer)]))
    return np.stack(pictures), lines


def shapes_of(folders):
    """Pictures, the objects in each (-1 where a picture is easy-VQA's), its shape and colour (or -1)."""
    answers = {}
    for path, source, answer in labelled(folders):
        answers.setdefault(path, (source, set()))[1].update(answer.split(", "))
    of = {s: sorted(set().union(*(a for o, a in answers.values() if o == s))) for s in ("scenes/entities", "easy-vqa")}
    objects, colours = of["scenes/entities"], [a for a in of["easy-vqa"] if a not in FAMILY]
    present = torch.full((len(answers), len(objects)), -1.0)
    single = torch.full((len(answers), 2), -1)
    for i, (source, names) in enumerate(answers.values()):
        if source == "scenes/entities":
            present[i] = torch.tensor([float(name in names) for name in objects])
            continue
        for name in names:
            single[i, int(name not in FAMILY)] = (FAMILY if name in FAMILY else colours).index(name)
    return np.stack([np.asarray(Image.open(p).convert("RGB")) for p in answers]), present, single


# ---- heads and their losses
class Heads(nn.Module):
    def __init__(self, objects, colours):
        super().__init__()
        self.norm = nn.LayerNorm(OUT_WIDTH)
        self.signs = nn.Linear(OUT_WIDTH, PLACES * (len(SIGNS) + 1))
        self.objects = nn.Linear(OUT_WIDTH, CELLS * objects)
        self.single = nn.Linear(OUT_WIDTH, len(FAMILY) + colours)
        nn.init.constant_(self.objects.bias, -6.0)  # nearly every cell has none of them

    def spell(self, features, lines):
        """CTC, a sign."""
        scores = self.signs(self.norm(features)).view(len(lines), -1, len(SIGNS) + 1)
        lengths = torch.tensor([len(line) for line in lines])
        places = torch.full((len(lines),), scores.shape[1])
        chances = scores.float().log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(chances, torch.cat(lines), places, lengths, reduction="sum") / lengths.sum()

    def name(self, features, present, single):
        """An object is in a picture if it is in one of its cells."""
        normed = self.norm(features)
        cells = self.objects(normed).float().view(len(present), -1, present.shape[1])
        absent = (1 - cells.sigmoid()).clamp(1e-6, 1).log().sum(1).exp()
        scene = present[:, 0] >= 0
        there = (1 - absent).clamp(1e-6, 1 - 1e-6)
        loss = F.binary_cross_entropy(there[scene], present[scene], reduction="none").sum() / scene.sum().clamp(min=1)
        scores = self.single(normed.mean(1)).float().split([len(FAMILY), self.single.out_features - len(FAMILY)], -1)
        for score, answer in zip(scores, single.unbind(1)):
            loss = loss + 2 * F.cross_entropy(score, answer, ignore_index=-1, reduction="sum") / len(answer)
        return loss


def batches(count, size, draw):
    """Numbers of pictures, every one once in each round."""
    while True:
        order = draw.permutation(count)
        for i in range(0, count - size + 1, size):
            yield np.sort(order[i : i + size])


def train(tower, strips, shapes, arguments):
    (pictures, lines), (squares, present, single) = strips, shapes
    heads = nn.ModuleList(Heads(present.shape[1], int(single[:, 1].max()) + 1) for _ in LEVEL_WEIGHTS)
    matrices = [p for n, p in tower.named_parameters() if p.ndim == 2 and "pos_embed" not in n]
    others = [p for n, p in tower.named_parameters() if p.ndim != 2 or "pos_embed" in n]
    betas = (0.9, 0.95)
    optimizers = [
        torch.optim.Muon(matrices, lr=arguments.rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=arguments.rate / 10, betas=betas, weight_decay=0.0),
        torch.optim.AdamW(heads.parameters(), lr=2e-3, betas=betas, weight_decay=0.01),
    ]
    share = lambda step: min(1, (step + 1) / 40) * (1 - step / arguments.steps)  # noqa: E731
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, share) for o in optimizers]
    grids = grid_of(*STRIP), grid_of(*SHAPE)
    look = torch.compile(tower, dynamic=False)
    draw = np.random.default_rng(arguments.seed)
    next_strips, next_shapes = (batches(len(p), arguments.batch, draw) for p in (pictures, squares))
    for step in range(arguments.steps):
        reads = draw.random() >= arguments.share
        chosen = next(next_strips if reads else next_shapes)
        patches = patches_of((pictures if reads else squares)[chosen], *(STRIP if reads else SHAPE))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            levels = look(patches, grids[not reads])
            losses = [
                h.spell(x, [lines[i] for i in chosen]) if reads else h.name(x, present[chosen], single[chosen])
                for h, x in zip(heads, levels)
            ]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        sum(w * loss for w, loss in zip(LEVEL_WEIGHTS, losses)).backward()
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: {'signs' if reads else 'shapes'} {losses[0].item():.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--strips", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--shapes", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.01, help="Muon's; AdamW has a tenth")
    parser.add_argument("--share", type=float, default=0.25, help="of the steps that see shapes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tower = tower_of(arguments.model)
    train(tower, strips_of(arguments.strips), shapes_of(arguments.shapes), arguments)
    save(tower, arguments.model, arguments.out)


if __name__ == "__main__":
    main()
