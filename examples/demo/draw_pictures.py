# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of `make demo`: problems/ (printed sums) and scenes/ (coloured shapes).

    python examples/demo/draw_pictures.py    # Pillow 13.0.0, DejaVu Sans of fonts-dejavu-core 2.37

The pictures are committed; this script is how they were made. The same seed draws the same ones.
"""

import pathlib
import random

from PIL import Image, ImageDraw, ImageFont

HERE = pathlib.Path(__file__).parent
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
COUNT = 12
SIZES = ((320, 224), (256, 256), (224, 320))
COLOURS = {"red": (200, 40, 50), "green": (40, 150, 80), "blue": (50, 90, 190),
           "yellow": (235, 190, 40), "violet": (130, 70, 160), "orange": (235, 130, 40)}


def problem(generator: random.Random) -> str:
    first, second = generator.randrange(2, 99), generator.randrange(2, 99)
    sign = generator.choice("+-×")
    form = generator.choice(("{a} {s} {b} = ?", "x {s} {b} = {a}\nx = ?", "{a} {s} {b} {s} {c} = ?"))
    return form.format(a=first, b=second, c=generator.randrange(2, 20), s=sign)


def draw_problem(generator: random.Random, size: tuple[int, int]) -> Image.Image:
    paper = generator.randrange(235, 256)
    image = Image.new("RGB", size, (paper, paper, paper - 8))
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(FONT, generator.randrange(26, 38))
    ink = generator.randrange(20, 70)
    draw.multiline_text((generator.randrange(10, 30), generator.randrange(20, 90)),
                        problem(generator), font=font, fill=(ink, ink, ink + 20), spacing=10)
    return image


def draw_scene(generator: random.Random, size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, (190, 215, 235))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 3 // 5, width, height), fill=(120, 165, 110))
    for _ in range(generator.randrange(2, 7)):
        x, y = generator.randrange(20, width - 60), generator.randrange(20, height - 60)
        side = generator.randrange(24, 70)
        box = (x, y, x + side, y + side)
        colour = generator.choice(sorted(COLOURS.values()))
        shape = generator.choice(("circle", "square", "triangle"))
        if shape == "circle":
            draw.ellipse(box, fill=colour)
        elif shape == "square":
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon([(x, y + side), (x + side // 2, y), (x + side, y + side)], fill=colour)
    return image


def main() -> None:
    for folder, draw, seed in (("problems", draw_problem, 1), ("scenes", draw_scene, 2)):
        generator = random.Random(seed)
        for i in range(COUNT):
            image = draw(generator, SIZES[i % len(SIZES)])
            image.quantize(64).save(HERE / folder / f"{i:02}.png", optimize=True)


if __name__ == "__main__":
    main()
