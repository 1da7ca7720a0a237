# SPDX-License-Identifier: Apache-2.0
"""Holds one trace file against another, tensor by tensor.

    python compare.py REFERENCE FOUND

What must hold, by the dtype of the reference's run (written in its metadata):

    ids, grids, positions  equal
    pixel_values           equal in float32, and as bytes before normalization
    float32                max|found - reference| <= 1e-4 rms(reference), every stage
    bfloat16               1 - cosine <= 1e-3, every stage; single values are free, since the
                           patch embedding is a convolution there and a product here, and that
                           alone moves some by a fifth of the rms
    generated              equal up to a near-tie: a step where the reference's own two best logits
                           lie no further apart than the larger of two bfloat16 steps (in a bfloat16
                           run) and twice the largest difference between the two traces' logits;
                           what comes after a near-tie is not compared

Exit: 0 all agree; 1 beyond a tolerance; 2 a tensor is missing or surplus, or of another shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import sys

import safetensors
import torch

FLOAT32_MAX_OVER_RMS = 1e-4
BFLOAT16_COSINE_DISTANCE = 1e-3

AGREE, BEYOND, MISSHAPEN = 0, 1, 2


@dataclasses.dataclass
class TraceFile:
    """A trace as read from disk."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]


def read_trace(path: str | pathlib.Path) -> TraceFile:
    with safetensors.safe_open(path, "pt") as file:
        return TraceFile({name: file.get_tensor(name) for name in file.keys()},
                         file.metadata() or {})


def max_over_rms(found: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, in units of the reference's root mean square."""
    rms = float(reference.double().pow(2).mean().sqrt())
    largest = float((found.double() - reference.double()).abs().max())
    return largest / rms if rms > 0 else largest


def cosine_distance(found: torch.Tensor, reference: torch.Tensor) -> float:
    a, b = found.double().flatten(), reference.double().flatten()
    return 1 - float(a @ b / (a.norm() * b.norm()))


def bfloat16_step(value: float) -> float:
    """The distance between neighbouring bfloat16 values near this one."""
    return 2.0 ** (math.floor(math.log2(abs(value))) - 7) if value else 0.0


def bytes_of(pixel_values: torch.Tensor) -> torch.Tensor:
    """The bytes from which pixel values were normalized."""
    return torch.round(pixel_values * 127.5 + 127.5).to(torch.int64)


def stage_order(name: str) -> tuple:
    """Sorts names in the order of the forward pass."""
    stages = ["pixel_values", "grid_thw", "input_ids", "position_ids", "rope_delta",
              "visual.patch_embed", "visual.pos_embed", "visual.blocks", "visual.deepstack",
              "visual.merger", "inputs_embeds", "layers", "norm", "logits", "generated"]
    stage = next((s for s in stages if name == s or name.startswith(s + ".")), "")
    rest = [int(p) if p.isdigit() else p for p in name[len(stage):].split(".") if p]
    return (stages.index(stage) if stage else len(stages), rest if stage else [name])


def compare_ids(found: torch.Tensor, reference: torch.Tensor) -> tuple[bool, str]:
    different = int((found != reference).sum())
    return different == 0, "equal" if different == 0 else f"{different} differ"


def compare_pixels(found: torch.Tensor, reference: torch.Tensor) -> tuple[bool, str]:
    levels = (bytes_of(found) - bytes_of(reference)).abs()
    if int(levels.max()) > 0:
        return False, f"{int((levels > 0).sum())} bytes differ, by up to {int(levels.max())}"
    values = int((found != reference).sum())
    return values == 0, "equal" if values == 0 else f"same bytes, but {values} values differ"


def compare_values(found: torch.Tensor, reference: torch.Tensor, dtype: str) -> tuple[bool, str]:
    if not bool(torch.isfinite(found).all()):
        return False, "not finite"
    ratio = max_over_rms(found, reference)
    distance = cosine_distance(found, reference)
    agree = (ratio <= FLOAT32_MAX_OVER_RMS if dtype == "float32"
             else distance <= BFLOAT16_COSINE_DISTANCE)
    return agree, f"max/rms {ratio:8.1e}   1-cos {max(distance, 0.0):8.1e}"


def compare_generated(found: TraceFile, reference: TraceFile, dtype: str) -> tuple[bool, str]:
    """Equal tokens, up to the first step that is a near-tie in the reference."""
    ours = found.tensors["generated"].tolist()
    theirs = reference.tensors["generated"].tolist()
    if ours == theirs:
        return True, f"{len(theirs)} tokens equal"
    step = next((k for k, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
    if step is None:
        return False, f"{len(ours)} tokens where the reference has {len(theirs)}"
    gap = json.loads(reference.metadata["top_gaps"])[step]
    top = json.loads(reference.metadata["top_logits"])[step]
    noise = (found.tensors["logits"].double() - reference.tensors["logits"].double()).abs().max()
    threshold = 2 * float(noise)
    if dtype == "bfloat16":
        threshold = max(threshold, 2 * bfloat16_step(top))
    said = (f"{step} of {len(theirs)} tokens equal, then {ours[step]} for {theirs[step]}: the two "
            f"best differ by {gap:.2g}, a near-tie is up to {threshold:.2g}")
    return gap <= threshold, said


def compare(found: TraceFile, reference: TraceFile) -> int:
    """Prints a line a tensor and a verdict; returns the exit status."""
    dtype = reference.metadata["dtype"]
    missing = sorted(reference.tensors.keys() - found.tensors.keys(), key=stage_order)
    surplus = sorted(found.tensors.keys() - reference.tensors.keys(), key=stage_order)
    misshapen, beyond = [*missing, *surplus], []
    for name in sorted(reference.tensors.keys() & found.tensors.keys(), key=stage_order):
        a, b = found.tensors[name], reference.tensors[name]
        shape = "x".join(map(str, b.shape))
        if name != "generated" and (a.shape != b.shape or a.dtype != b.dtype):
            print(f"{name:24} {shape:>12}   found {list(a.shape)} {a.dtype}")
            misshapen.append(name)
            continue
        if name == "generated":
            agree, said = compare_generated(found, reference, dtype)
        elif name == "pixel_values":
            agree, said = compare_pixels(a, b)
        elif not b.dtype.is_floating_point:
            agree, said = compare_ids(a, b)
        else:
            agree, said = compare_values(a, b, dtype)
        print(f"{name:24} {shape:>12}   {said}{'' if agree else '   BEYOND'}")
        if not agree:
            beyond.append(name)
    for name in missing:
        print(f"{name:24} missing")
    for name in surplus:
        print(f"{name:24} surplus")
    if misshapen:
        print(f"{dtype}: {len(misshapen)} tensors missing, surplus or of another shape")
        return MISSHAPEN
    if beyond:
        print(f"{dtype}: {len(beyond)} of {len(reference.tensors)} tensors beyond the tolerance, "
              f"first {beyond[0]}")
        return BEYOND
    print(f"{dtype}: all {len(reference.tensors)} tensors agree")
    return AGREE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("found", type=pathlib.Path)
    arguments = parser.parse_args()
    return compare(read_trace(arguments.found), read_trace(arguments.reference))


if __name__ == "__main__":
    sys.exit(main())
