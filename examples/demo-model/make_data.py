#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the demo model's conversations out of what `espalier synth` drew, and easy-VQA's files.

  make_data.py mix --out FILE.jsonl --folders DIR... [--short S] [--keep SUBTASK=P ...] [--seed N]
  make_data.py easy-vqa OUT --split train|test
  make_data.py read OUT --count N [--longest L] [--seed N]

`mix` draws which of synth's rows are learned and replaces the paper's long prompts by a word or two
in a share of them: a decoder then spends its time on answers, and still knows the long prompts.
`easy-vqa` writes the public benchmark's pictures and questions (package easy_vqa, official split) as
conversations.jsonl, questions.jsonl and pictures.jsonl. `read` draws strips with random signs, one to
L of them: to tell a vision tower what a sign is, before it sees whole problems.
"""

import argparse
import json
import os
import pathlib
import random
import shutil

SHORT = {
    "math/cot": "Work it out.",
    "math/direct": "Answer.",
    "math/rephrase": "Rephrase.",
    "math/formalize": "Equation.",
    "math/verify": "Solvable?",
    "scenes/caption": "Caption.",
    "scenes/entities": "Entities.",
    "scenes/counting": "Count.",
    "scenes/grounding": "Prominent?",
}


def shortened(row):
    """The row with its subtask's short prompt; where a problem stands in the prompt, it stays."""
    short = SHORT.get(row["source"])
    user = row["messages"][0]
    if short is None:
        return row
    picture = "<image>" if row.get("images") else ""
    lines = user["content"].removeprefix("<image>").strip().split("\n")
    problem = "" if picture else "\n" + lines[-1]
    return {**row, "messages": [{"role": "user", "content": picture + short + problem}, *row["messages"][1:]]}


def mix(arguments):
    draw = random.Random(arguments.seed)
    keep = {name: float(share) for name, share in (pair.split("=") for pair in arguments.keep)}
    out = pathlib.Path(arguments.out)
    with open(out, "w", encoding="utf-8") as file:
        for folder in arguments.folders:
            here = os.path.relpath(folder, out.parent)
            for line in open(pathlib.Path(folder) / "conversations.jsonl", encoding="utf-8"):
                row = json.loads(line)
                if draw.random() >= keep.get(row.get("source", ""), 1.0):
                    continue
                if draw.random() < arguments.short:
                    row = shortened(row)
                if row.get("images"):
                    row["images"] = [f"{here}/{image}" for image in row["images"]]
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def kind_of(question):
    if question.startswith(("what color", "what is the color")):
        return "colour"
    return "shape" if question.startswith("what") else "yes/no"


def easy_vqa(arguments):
    import easy_vqa as package

    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True)
    questions, answers, pictures = getattr(package, f"get_{arguments.split}_questions")()
    paths = getattr(package, f"get_{arguments.split}_image_paths")()
    shutil.copytree(pathlib.Path(paths[0]).parent, out / "images")
    name = {number: f"images/{pathlib.Path(path).name}" for number, path in paths.items()}
    with (
        open(out / "conversations.jsonl", "w", encoding="utf-8") as rows,
        open(out / "questions.jsonl", "w", encoding="utf-8") as asked,
    ):
        for i, (question, answer, picture) in enumerate(zip(questions, answers, pictures)):
            number = f"easy-vqa-{arguments.split}-{i}"
            rows.write(json.dumps({
                "messages": [
                    {"role": "user", "content": f"<image>{question}"},
                    {"role": "assistant", "content": answer},
                ],
                "images": [name[picture]],
                "source": "easy-vqa",
                "id": number,
            }) + "\n")
            asked.write(json.dumps({
                "id": number,
                "image": name[picture],
                "prompt": question,
                "answer": answer,
                "domain": "easy-vqa",
                "kind": kind_of(question),
                "match": "exact",
            }) + "\n")
    with open(out / "pictures.jsonl", "w", encoding="utf-8") as file:
        for number, path in sorted(name.items()):
            file.write(json.dumps({"image": path, "id": f"easy-vqa-{number}"}) + "\n")


SIGNS = "0123456789" * 3 + "+-x×=?/<>,"
ANSWERS = str.maketrans("×", "*")
FACES = [
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSerif-Bold.ttf",
    "dejavu/DejaVuSansMono.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationSansNarrow-Regular.ttf",
    "liberation/LiberationSerif-Regular.ttf",
    "freefont/FreeMonoBold.ttf",
]


def luminance(colour):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def draw_colours(draw):
    """Ink and paper whose contrast is at least 4.5 (WCAG 2.1)."""
    while True:
        ink, paper = (tuple(draw.randrange(256) for _ in range(3)) for _ in range(2))
        low, high = sorted((luminance(ink), luminance(paper)))
        if (high + 0.05) / (low + 0.05) >= 4.5:
            return ink, paper


def draw_strip(text, draw, faces):
    """A strip of 128 x 32: typeface, size, place, rotation, colours and noise as those of synth."""
    import numpy
    from PIL import Image, ImageDraw

    ink, paper = draw_colours(draw)
    picture = Image.new("L", (128, 32), 0)
    face = draw.choice(faces)
    gap = draw.choice((0, 3))
    width = sum(face.getlength(sign) + gap for sign in text)
    x = draw.uniform(2, max(2, 126 - width))
    y = 16 + draw.uniform(-3, 3)
    pen = ImageDraw.Draw(picture)
    for sign in text:
        pen.text((x, y), sign, fill=255, font=face, anchor="lm")
        x += face.getlength(sign) + gap
    picture = picture.rotate(draw.uniform(-4, 4), Image.Resampling.BICUBIC, center=(64, 16))
    strip = Image.composite(Image.new("RGB", picture.size, ink), Image.new("RGB", picture.size, paper), picture)
    seed = numpy.random.default_rng(draw.getrandbits(32))
    noise = seed.normal(0.0, draw.uniform(2, 10), (32, 128, 3))
    return Image.fromarray(numpy.clip(numpy.asarray(strip) + noise, 0, 255).astype("uint8"))


def read(arguments):
    from PIL import ImageFont

    draw = random.Random(arguments.seed)
    faces = [ImageFont.truetype(f"/usr/share/fonts/truetype/{f}", size) for f in FACES for size in (19, 24)]
    out = pathlib.Path(arguments.out)
    (out / "images").mkdir(parents=True)
    with open(out / "conversations.jsonl", "w", encoding="utf-8") as file:
        for i in range(arguments.count):
            text = "".join(draw.choice(SIGNS) for _ in range(draw.randint(1, arguments.longest)))
            draw_strip(text, draw, faces).save(out / "images" / f"{i:06}.png", compress_level=1)
            file.write(json.dumps({
                "messages": [
                    {"role": "user", "content": "<image>Read."},
                    {"role": "assistant", "content": text.translate(ANSWERS)},
                ],
                "images": [f"images/{i:06}.png"],
                "source": f"read-{len(text)}",
                "id": f"read-{i}",
            }) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("mix")
    command.add_argument("--out", required=True)
    command.add_argument("--folders", nargs="+", required=True)
    command.add_argument("--short", type=float, default=0.75)
    command.add_argument("--keep", nargs="*", default=[], metavar="SUBTASK=P")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=mix)
    command = commands.add_parser("easy-vqa")
    command.add_argument("out")
    command.add_argument("--split", choices=["train", "test"], required=True)
    command.set_defaults(run=easy_vqa)
    command = commands.add_parser("read")
    command.add_argument("out")
    command.add_argument("--count", type=int, required=True)
    command.add_argument("--longest", type=int, default=6)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=read)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
