# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/images: small pictures of every kind, and what they must decode to.

Made with pillow 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0) and numpy 2.4.6; nothing else is
needed:

    python -m venv /tmp/pictures && /tmp/pictures/bin/pip install pillow==13.0.0 numpy==2.4.6
    /tmp/pictures/bin/python tests/reference/make_image_fixtures.py tests/fixtures/images

expected.json holds, for each file, the width, the height and the SHA-256 of the RGB bytes that the
reference gets: EXIF orientation applied, then convert_to_rgb of transformers 5.23.0. Pictures that
Pillow cannot write are put together here, chunk by chunk or by changing a header.
"""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import struct
import sys
import zlib

import numpy
import PIL
from PIL import Image, ImageOps

WIDTH, HEIGHT = 27, 21  # odd: chroma ends within a block
GENERATOR = numpy.random.default_rng(20260320)
ORIENTATION = 0x0112
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def reference_rgb(data: bytes) -> Image.Image:
    """What transformers' convert_to_rgb (5.23.0) makes of the upright picture."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def samples(channels: int, levels: int = 256, width: int = WIDTH, height: int = HEIGHT):
    """A slanted gradient a channel with noise, [height, width, channels] below `levels`."""
    y, x = numpy.mgrid[0:height, 0:width]
    planes = []
    for channel in range(channels):
        slope = (x * (channel + 1) + y * (3 - channel % 3)) / (width * (channel + 1) + 3 * height)
        noise = GENERATOR.normal(0, 0.05, (height, width))
        planes.append(numpy.clip((slope + noise) * levels, 0, levels - 1))
    return numpy.stack(planes, axis=-1).astype(numpy.uint16)


def picture(mode: str, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    values = samples(len(mode), width=width, height=height).astype(numpy.uint8)
    return (
        Image.fromarray(values.squeeze(), mode) if len(mode) == 1 else Image.fromarray(values, mode)
    )


# --- PNG ------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed_rows(values, bits: int) -> bytes:
    """Rows of samples, each packed to bits, with the filter byte 0 before it."""
    rows = []
    for row in values.reshape(len(values), -1):
        if bits == 16:
            packed = row.astype(">u2").tobytes()
        else:
            digits = (row[:, None] >> numpy.arange(bits - 1, -1, -1)) & 1
            packed = numpy.packbits(digits.astype(numpy.uint8).ravel()).tobytes()
        rows.append(b"\0" + packed)
    return b"".join(rows)


def png(values, bits: int, color_type: int, *, interlaced=False, before=(), after=()) -> bytes:
    height, width = values.shape[:2]
    if interlaced:
        parts = [values[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
        pixels = b"".join(packed_rows(part, bits) for part in parts if part.size)
    else:
        pixels = packed_rows(values, bits)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(pixels)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


def png_files():
    grey, rgb, indexed, grey_alpha, rgba = 0, 2, 3, 4, 6
    for bits in (1, 2, 4, 8, 16):
        values = samples(1, 1 << bits)
        yield f"grey{bits}", png(values, bits, grey)
        key = int(values[3, 4, 0])
        yield f"grey{bits}_key", png(values, bits, grey, before=[(b"tRNS", struct.pack(">H", key))])
        yield f"grey{bits}_interlaced", png(values, bits, grey, interlaced=True)
        if bits <= 8:
            colors = GENERATOR.integers(0, 256, 3 << bits, dtype=numpy.uint8).tobytes()
            palette = (b"PLTE", colors)
            alphas = (b"tRNS", GENERATOR.integers(0, 256, (1 << bits) - 1, numpy.uint8).tobytes())
            one = (b"tRNS", b"\xff\0" if bits > 1 else b"\0")
            yield f"palette{bits}", png(values, bits, indexed, before=[palette])
            yield f"palette{bits}_alphas", png(values, bits, indexed, before=[palette, alphas])
            yield f"palette{bits}_clear", png(values, bits, indexed, before=[palette, one])
            yield f"palette{bits}_interlaced", png(
                values, bits, indexed, interlaced=True, before=[palette]
            )
        if bits >= 8:
            for name, color_type, channels in (
                ("rgb", rgb, 3),
                ("la", grey_alpha, 2),
                ("rgba", rgba, 4),
            ):
                values = samples(channels, 1 << bits)
                yield f"{name}{bits}", png(values, bits, color_type)
                yield f"{name}{bits}_interlaced", png(values, bits, color_type, interlaced=True)
            values = samples(3, 1 << bits) // (1 << bits - 2)  # few colours, so that some match
            key = (b"tRNS", struct.pack(">3H", *map(int, values[5, 6])))
            yield f"rgb{bits}_key", png(values, bits, rgb, before=[key])
            wide_key = (b"tRNS", struct.pack(">3H", *(int(v) + 0x300 for v in values[5, 6])))
            yield f"rgb{bits}_wide_key", png(values, bits, rgb, before=[wide_key])
    # A key of 16 bits against samples that are clipped or cut to 8.
    values = samples(1, 300)
    yield "grey16_low", png(values, 16, grey)
    yield "grey16_low_key", png(values, 16, grey, before=[(b"tRNS", struct.pack(">H", 100))])
    yield "grey16_wide_key", png(values, 16, grey, before=[(b"tRNS", struct.pack(">H", 0x12FF))])
    yield "grey8_wide_key", png(samples(1), 8, grey, before=[(b"tRNS", struct.pack(">H", 0x1280))])
    yield "palette8_short", png(samples(1), 8, indexed, before=[(b"PLTE", bytes(range(60)))])
    yield "palette4_long_alphas", png(
        samples(1, 16),
        4,
        indexed,
        before=[(b"PLTE", bytes(range(30))), (b"tRNS", bytes(range(0, 160, 10)))],
    )
    yield "gamma", png(samples(3), 8, rgb, before=[(b"gAMA", struct.pack(">I", 100000))])
    yield "one_pixel", png(samples(3, width=1, height=1), 8, rgb)

    buffer = io.BytesIO()
    picture("RGB").save(buffer, "PNG", optimize=True)  # with filters
    yield "filtered", buffer.getvalue()

    values = samples(3)
    for orientation in (2, 6):
        tiff = exif(orientation)[6:]
        yield f"exif{orientation}", png(values, 8, rgb, before=[(b"eXIf", tiff)])
    yield "exif_after_pixels", png(values, 8, rgb, after=[(b"eXIf", exif(8)[6:])])
    yield "exif_prefixed", png(values, 8, rgb, before=[(b"eXIf", exif(3))])
    yield "exif_key", png(
        values // 64,
        8,
        rgb,
        before=[
            (b"eXIf", exif(5)[6:]),
            (b"tRNS", struct.pack(">3H", *map(int, values[5, 6] // 64))),
        ],
    )
    profile = f"\nexif\n{len(exif(7)):8}\n".encode() + exif(7).hex().encode() + b"\n"
    yield "raw_profile", png(
        values, 8, rgb, before=[(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))]
    )
    yield "raw_profile_text", png(
        values, 8, rgb, before=[(b"tEXt", b"Raw profile type exif\0" + profile)]
    )
    yield "xmp", png(values, 8, rgb, before=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6))])
    yield "xmp_packed", png(
        values, 8, rgb, before=[(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(8)))]
    )
    yield "exif_over_xmp", png(
        values,
        8,
        rgb,
        before=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)), (b"eXIf", exif(3)[6:])],
    )


# --- EXIF -----------------------------------------------------------------------------------------


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def tiff(entries, order: str = ">") -> bytes:
    """A TIFF directory of raw entries: (tag, type, count, four bytes)."""
    head = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(order + "L", 8)
    body = b"".join(struct.pack(order + "HHL", *entry[:3]) + entry[3] for entry in entries)
    return head + struct.pack(order + "H", len(entries)) + body + bytes(4)


def xmp(orientation: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    return f"<x:xmpmeta>{form.format(orientation)}</x:xmpmeta>".encode()


# --- JPEG -----------------------------------------------------------------------------------------


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=options.pop("quality", 85), **options)
    return buffer.getvalue()


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG with a segment after its start, in place of its APP0."""
    rest = data[2:]
    if rest[:2] == b"\xff\xe0":
        rest = rest[2 + struct.unpack(">H", rest[2:4])[0] :]
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + rest


def with_sampling(data: bytes, factors: int) -> bytes:
    """The JPEG with other sampling factors of its luma: the same number of blocks, shuffled."""
    frame = data.index(b"\xff\xc0\x00\x11")
    return data[: frame + 11] + bytes([factors]) + data[frame + 12 :]


def with_adobe_transform(data: bytes, transform: int) -> bytes:
    at = data.index(b"Adobe")
    return data[: at + 11] + bytes([transform]) + data[at + 12 :]


def without_adobe(data: bytes) -> bytes:
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]


def jpeg_files():
    rgb = picture("RGB")
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        yield f"rgb{name}", jpeg(rgb, subsampling=subsampling)
        yield f"rgb{name}_progressive", jpeg(rgb, subsampling=subsampling, progressive=True)
    square = picture("RGB", 32, 32)
    yield "rgb440", with_sampling(jpeg(square, subsampling=1), 0x12)
    yield "rgb411", with_sampling(jpeg(square, subsampling=2), 0x41)
    yield "rgb_stored", jpeg(rgb, keep_rgb=True)
    yield "restarts", jpeg(rgb, restart_marker_blocks=2, optimize=True)
    yield "low_quality", jpeg(rgb, quality=5)
    yield "grey", jpeg(picture("L"))
    yield "grey_progressive", jpeg(picture("L"), progressive=True)
    cmyk = jpeg(picture("CMYK"))
    yield "cmyk", cmyk
    yield "cmyk_progressive", jpeg(picture("CMYK"), progressive=True)
    yield "cmyk_without_adobe", without_adobe(cmyk)
    yield "ycck", with_adobe_transform(cmyk, 2)
    yield "one_pixel", jpeg(picture("RGB", 1, 1))

    small = jpeg(picture("RGB", 11, 7))
    for orientation in range(1, 9):
        yield f"exif{orientation}", with_segment(small, 0xE1, exif(orientation))
    start = b"Exif\0\0"
    cases = {
        "little_endian": tiff([(ORIENTATION, 3, 1, b"\6\0\0\0")], "<"),
        "long": tiff([(ORIENTATION, 4, 1, b"\0\0\0\6")]),
        "float": tiff([(ORIENTATION, 11, 1, struct.pack(">f", 6))]),
        "byte": tiff([(ORIENTATION, 1, 1, b"\6\0\0\0")]),  # raw bytes: no number in Pillow
        "text": tiff([(ORIENTATION, 2, 2, b"6\0\0\0")]),
        "several": tiff([(ORIENTATION, 3, 2, b"\0\6\0\3")]),
        "twice": tiff([(ORIENTATION, 3, 1, b"\0\6\0\0"), (ORIENTATION, 3, 1, b"\0\3\0\0")]),
        "nine": tiff([(ORIENTATION, 3, 1, b"\0\x09\0\0")]),
        "rational": tiff([(ORIENTATION, 5, 1, struct.pack(">L", 26))]) + struct.pack(">LL", 12, 2),
        "swapped_magic": b"MM*\0" + tiff([(ORIENTATION, 3, 1, b"\0\6\0\0")])[4:],
        "cut": tiff([(ORIENTATION, 3, 1, b"\0\6\0\0")])[:16],
        "data_outside": tiff(
            [(0x10F, 2, 9, struct.pack(">L", 10**6)), (ORIENTATION, 3, 1, b"\0\6\0\0")]
        ),
        "data_too_large": tiff([(0x10F, 2, 10**6, bytes(4)), (ORIENTATION, 3, 1, b"\0\6\0\0")]),
        "unknown_type": tiff([(0x10F, 99, 9, bytes(4)), (ORIENTATION, 3, 1, b"\0\6\0\0")]),
        "not_tiff": b"nonsense" * 4,
        "prefix_twice": start + tiff([(ORIENTATION, 3, 1, b"\0\6\0\0")]),
    }
    for name, content in cases.items():
        yield f"exif_{name}", with_segment(small, 0xE1, start + content)
    whole = tiff([(0x10F, 2, 2, b"x\0\0\0"), (ORIENTATION, 3, 1, b"\0\6\0\0")])
    halves = with_segment(with_segment(small, 0xE1, start + whole[20:]), 0xE1, start + whole[:20])
    yield "exif_two_segments", halves
    space = b"http://ns.adobe.com/xap/1.0/\0"
    yield "xmp", with_segment(small, 0xE1, space + xmp(6))
    yield "xmp_element", with_segment(
        small, 0xE1, space + xmp(8, "<tiff:Orientation>{}</tiff:Orientation>")
    )
    yield "xmp_of_empty_exif", with_segment(
        with_segment(small, 0xE1, space + xmp(6)), 0xE1, start + tiff([])
    )
    yield "xmp_of_broken_exif", with_segment(
        with_segment(small, 0xE1, space + xmp(6)), 0xE1, start + b"nonsense"
    )


# --- WebP -----------------------------------------------------------------------------------------


def webp(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def riff(chunks) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def size24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def webp_animation(
    frame: Image.Image, offset: tuple[int, int], canvas: tuple[int, int], flags: int
) -> bytes:
    """An animation of one frame that does not fill its canvas."""
    pixels = webp(frame, lossless=True)[12:]
    extent = b"".join(
        map(size24, (offset[0] // 2, offset[1] // 2, frame.width - 1, frame.height - 1))
    )
    return riff(
        [
            (b"VP8X", struct.pack("<I", flags | 2) + size24(canvas[0] - 1) + size24(canvas[1] - 1)),
            (b"ANIM", struct.pack("<IH", 0x80FF4020, 0)),
            (b"ANMF", extent + size24(100) + b"\0" + pixels),
        ]
    )


def webp_files():
    rgb, rgba = picture("RGB"), picture("RGBA")
    yield "lossy", webp(rgb, quality=70)
    yield "lossy_alpha", webp(rgba, quality=70, alpha_quality=60)
    yield "lossless", webp(rgb, lossless=True)
    yield "lossless_alpha", webp(rgba, lossless=True, exact=True)
    yield "one_pixel", webp(picture("RGB", 1, 1), lossless=True)
    yield "exif", webp(rgb, quality=70, exif=exif(6))
    yield "exif_bare", webp(rgb, quality=70, exif=exif(7)[6:])
    yield "xmp", webp(rgb, quality=70, xmp=xmp(8))
    buffer = io.BytesIO()
    rgba.save(
        buffer, "WEBP", save_all=True, append_images=[picture("RGBA")], duration=100, lossless=True
    )
    yield "animated", buffer.getvalue()
    alpha = 0x10
    yield "animated_part", webp_animation(rgb, (4, 6), (40, 36), 0)
    yield "animated_part_alpha", webp_animation(rgba, (4, 6), (40, 36), alpha)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for kind, files in (("jpg", jpeg_files()), ("png", png_files()), ("webp", webp_files())):
        for name, data in files:
            image = reference_rgb(data)
            (folder / f"{name}.{kind}").write_bytes(data)
            expected[f"{name}.{kind}"] = {
                "width": image.width,
                "height": image.height,
                "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
            }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(expected)} pictures, {size} bytes, Pillow {PIL.__version__}")


if __name__ == "__main__":
    main()
