#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes DECODER's checkpoint with the vision tower (mergers included) of another.

  graft.py DECODER VISION OUT
"""

import json
import pathlib
import shutil
import struct
import sys

TOWER = "model.visual."


def read(path):
    """The tensors of a safetensors file: name -> (header entry, bytes)."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    return {name: (entry, body[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def write(tensors, path):
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, (entry, data) in tensors.items():
        header[name] = entry | {"data_offsets": [place, place + len(data)]}
        place += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


def main():
    decoder, vision, out = map(pathlib.Path, sys.argv[1:])
    tensors = read(decoder / "model.safetensors")
    tower = {n: t for n, t in read(vision / "model.safetensors").items() if n.startswith(TOWER)}
    wanted = {n: t[0]["shape"] for n, t in tensors.items() if n.startswith(TOWER)}
    if {n: t[0]["shape"] for n, t in tower.items()} != wanted:
        sys.exit(f"graft: {vision}: its vision tower has other tensors than {decoder}'s")
    shutil.copytree(decoder, out)
    write(tensors | tower, out / "model.safetensors")


if __name__ == "__main__":
    main()
