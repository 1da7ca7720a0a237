#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures in examples/pictures/ with nothing but the standard library.

    espalier.png   a pear tree trained flat against a garden wall, four tiers of arms
    pruned.png     the same tree with the two middle tiers taken out

Run it to make them again: the bytes are the same each time.
"""

import math
import pathlib
import random
import struct
import zlib

WIDTH, HEIGHT = 384, 320
FINE = 3  # drawn this many times finer, then averaged, for smooth edges

SKY, SUN, CLOUD = (196, 224, 238), (250, 214, 120), (240, 247, 250)
HILL = (150, 184, 150)
COPING, WALL, JOINT = (196, 178, 158), (206, 138, 106), (222, 196, 172)
WALL_DARK, WALL_LIGHT = (194, 124, 94), (214, 150, 118)
WIRE, BARK = (150, 128, 112), (104, 76, 58)
LEAF, LEAF_LIGHT, LEAF_DARK = (92, 142, 78), (126, 170, 92), (70, 116, 66)
PEAR, PEAR_BLUSH, STALK = (226, 196, 88), (222, 142, 84), (92, 68, 52)
GRASS, GRASS_DARK, SOIL = (122, 168, 92), (104, 150, 82), (116, 86, 66)


class Canvas:
    """A picture painted shape by shape, in coordinates of the finished picture."""

    def __init__(self):
        self.width, self.height = WIDTH * FINE, HEIGHT * FINE
        self.rows = [bytearray(3 * self.width) for _ in range(self.height)]

    def span(self, y, left, right, colour):
        left, right = max(0, round(left * FINE)), min(self.width, round(right * FINE))
        if left < right:
            self.rows[y][3 * left : 3 * right] = bytes(colour) * (right - left)

    def rectangle(self, x0, y0, x1, y1, colour):
        for y in range(max(0, round(y0 * FINE)), min(self.height, round(y1 * FINE))):
            self.span(y, x0, x1, colour)

    def ellipse(self, cx, cy, rx, ry, colour, angle=0.0):
        c, s = math.cos(angle), math.sin(angle)
        # x^2 a + x y b + y^2 d = 1 for the turned ellipse, solved for x on every row
        a = (c / rx) ** 2 + (s / ry) ** 2
        b = 2 * c * s * (1 / rx**2 - 1 / ry**2)
        d = (s / rx) ** 2 + (c / ry) ** 2
        reach = max(rx, ry)
        for row in range(max(0, int((cy - reach) * FINE)), min(self.height, int((cy + reach) * FINE) + 1)):
            y = (row + 0.5) / FINE - cy
            root = (b * y) ** 2 - 4 * a * (d * y * y - 1)
            if root > 0:
                middle, half = -b * y / (2 * a), math.sqrt(root) / (2 * a)
                self.span(row, cx + middle - half, cx + middle + half, colour)

    def stroke(self, points, width_from, width_to, colour):
        """A line through the points that tapers from one width to the other."""
        steps = []
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            n = max(1, round(math.hypot(x1 - x0, y1 - y0) * 2))
            steps += [(x0 + (x1 - x0) * i / n, y0 + (y1 - y0) * i / n) for i in range(n)]
        for i, (x, y) in enumerate(steps):
            r = (width_from + (width_to - width_from) * i / len(steps)) / 2
            self.ellipse(x, y, r, r, colour)

    def png(self):
        lines = bytearray()
        area = FINE * FINE
        above = bytes(3 * WIDTH)
        for top in range(0, self.height, FINE):
            row = bytearray()
            for left in range(0, 3 * self.width, 3 * FINE):
                for channel in range(3):
                    total = sum(self.rows[top + dy][left + 3 * dx + channel]
                                for dy in range(FINE) for dx in range(FINE))
                    row.append((total + area // 2) // area)
            # filter 2: the difference to the row above, which is mostly nothing
            lines += b"\x02" + bytes((p - q) & 255 for p, q in zip(row, above))
            above = bytes(row)

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                + chunk(b"IDAT", zlib.compress(bytes(lines), 9)) + chunk(b"IEND", b""))


def garden(canvas):
    rng = random.Random(1)
    canvas.rectangle(0, 0, WIDTH, HEIGHT, SKY)
    canvas.ellipse(322, 26, 15, 15, SUN)
    for x, y, rx in ((70, 20, 30), (94, 26, 26), (48, 27, 22)):
        canvas.ellipse(x, y, rx, 7, CLOUD)
    canvas.ellipse(60, 66, 120, 24, HILL)
    canvas.ellipse(250, 70, 150, 22, HILL)

    top, bottom = 56, 270
    canvas.rectangle(0, top, WIDTH, bottom, JOINT)
    for course, y in enumerate(range(top + 8, bottom, 13)):
        for x in range(-28 + 14 * (course % 2), WIDTH, 28):
            shade = rng.choices((WALL, WALL_DARK, WALL_LIGHT), (6, 1, 1))[0]
            canvas.rectangle(x, y, x + 26.5, min(y + 11.5, bottom), shade)
    canvas.rectangle(0, top - 4, WIDTH, top + 7, COPING)
    canvas.rectangle(0, top + 6, WIDTH, top + 8, BARK)
    canvas.rectangle(0, bottom, WIDTH, bottom + 20, SOIL)
    canvas.rectangle(0, bottom + 20, WIDTH, HEIGHT, GRASS)
    for _ in range(46):
        x, y = rng.uniform(0, WIDTH), rng.uniform(bottom + 26, HEIGHT)
        canvas.stroke([(x, y), (x + rng.uniform(-2, 2), y - 6)], 2, 1, GRASS_DARK)


def pear(canvas, x, y):
    canvas.stroke([(x, y), (x + 1, y + 6)], 1.4, 1.4, STALK)
    canvas.ellipse(x + 1, y + 10, 3.6, 5, PEAR)
    canvas.ellipse(x + 1, y + 15, 6.2, 6.2, PEAR)
    canvas.ellipse(x + 3.4, y + 16, 2.6, 3.4, PEAR_BLUSH)


def tree(canvas, tiers, wires):
    rng = random.Random(2)
    middle, foot, reach = WIDTH / 2, 276, 150
    for y in wires:
        canvas.rectangle(8, y - 0.6, WIDTH - 8, y + 0.6, WIRE)
    canvas.stroke([(middle, foot), (middle, tiers[0])], 12, 5, BARK)
    fruit, leaves = [], []
    for y in tiers:
        for side in (-1, 1):
            arm = [(middle, y + 14), (middle + side * 10, y + 4), (middle + side * 24, y),
                   (middle + side * reach, y)]
            canvas.stroke(arm, 6.5, 2.5, BARK)
            for i in range(9):
                x = middle + side * (28 + i * (reach - 28) / 8)
                for _ in range(4):
                    leaves.append((x + rng.uniform(-8, 8), y + rng.uniform(-13, 7)))
                if i in (2, 4, 7):
                    fruit.append((x + rng.uniform(-3, 3), y + 2))
    leaves += [(middle + rng.uniform(-9, 9), tiers[0] - rng.uniform(0, 14)) for _ in range(9)]
    for x, y in leaves:
        shade = rng.choice((LEAF, LEAF, LEAF_LIGHT, LEAF_DARK))
        canvas.ellipse(x, y, 7, 3.4, shade, rng.uniform(-1.2, 1.2))
    for x, y in fruit:
        pear(canvas, x, y)


def main():
    folder = pathlib.Path(__file__).resolve().parent / "pictures"
    folder.mkdir(exist_ok=True)
    wires = (96, 140, 184, 228)
    for name, tiers in (("espalier", wires), ("pruned", (96, 228))):
        canvas = Canvas()
        garden(canvas)
        tree(canvas, tiers, wires)
        (folder / f"{name}.png").write_bytes(canvas.png())


if __name__ == "__main__":
    main()
