#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts a shallow model that was pruned from a deep one, and trained since, back into the deep one.

  grow.py DEEP SHALLOW OUT

OUT has SHALLOW's vision tower, embedding, norm and layers, these at the places that its plan
(espalier.json) says they had in DEEP; between them stand DEEP's own layers.
"""

import json
import pathlib
import re
import shutil
import struct
import sys

LAYER = re.compile(r"(model\.language_model\.layers\.)(\d+)(\..*)")


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
    deep, shallow, out = map(pathlib.Path, sys.argv[1:])
    kept = json.loads((shallow / "espalier.json").read_text())["kept"]
    tensors = read(deep / "model.safetensors")
    for name, tensor in read(shallow / "model.safetensors").items():
        layer = LAYER.fullmatch(name)
        place = f"{layer[1]}{kept[int(layer[2])]}{layer[3]}" if layer else name
        if tensors[place][0]["shape"] != tensor[0]["shape"]:
            sys.exit(f"grow: {shallow}: {name} has another shape than {deep}'s {place}")
        tensors[place] = tensor
    shutil.copytree(deep, out)
    write(tensors, out / "model.safetensors")


if __name__ == "__main__":
    main()
