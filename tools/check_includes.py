#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds every #include against the house's table (docs/architecture.md).

The table is the architecture: to change it is a decision, made in the same commit.
`--self-test` shows that the rules catch what they are for.
"""

import pathlib
import re
import sys

# folder: (level, the folders it may include beside itself)
TABLE = {
    "base": (1, ""),
    "records": (2, "base"),
    "text": (2, "base"),
    "image": (2, "base"),
    "checkpoint": (3, "records base"),
    "data": (3, "text image base"),
    "report": (3, "records base"),
    "synth": (3, "image base"),
    "prune": (4, "checkpoint records base"),
    "model": (4, "data image checkpoint records base"),
    "probe": (5, "model data text checkpoint records base"),
    "train": (5, "model data text checkpoint records base"),
    "eval": (5, "model data text checkpoint records base"),
    "cli": (6, "base records text image checkpoint data report synth prune model probe train eval"),
}
WET = {"model", "probe", "train", "eval"}  # the folders that need LibTorch
DRY_FILES = {"eval/metrics.h", "eval/metrics.cpp"}  # ... but for these

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"(ATen|torch|c10|caffe2)/")

TOP = pathlib.Path(__file__).resolve().parent.parent
# cli is dry but for what its CMakeLists.txt builds where LibTorch is.
ENGINE = re.findall(r"\w+\.cpp", (TOP / "espalier/cli/CMakeLists.txt").read_text(encoding="utf-8")
                    .partition("if(ESPALIER_TORCH)")[2])
WET_FILES = {f"cli/{name}" for source in ENGINE for name in (source, source.replace(".cpp", ".h"))}


def faults(path, text):
    """What the rules say against the includes of one file; path is relative to the top folder."""
    parts = pathlib.PurePosixPath(path).parts
    folder = parts[1] if parts[0] == "espalier" else None
    inner = "/".join(parts[1:])
    if folder and folder not in TABLE:
        yield f"{path}: folder '{folder}' is not in the table"
        return
    dry = folder and (folder not in WET or inner in DRY_FILES) and inner not in WET_FILES
    for line, name in ((text.count("\n", 0, m.start(1)) + 1, m[1]) for m in INCLUDE.finditer(text)):
        place = f"{path}:{line}: includes {name}"
        if name == "torch/torch.h":
            yield f"{place}: 11 s a file; take ATen's headers"
        if name.startswith("CLI/") and inner != "cli/arguments.cpp":
            yield f"{place}: CLI11 belongs into espalier/cli/arguments.cpp alone"
        if dry and TORCH.match(name):
            yield f"{place}: this file is of the half without LibTorch"
        if folder and name.startswith("espalier/"):
            target = name.split("/")[1]
            if target != folder and target not in TABLE[folder][1].split():
                yield f"{place}: {folder} may include {TABLE[folder][1] or 'no other folder'}"
            elif dry and target in WET and name.removeprefix("espalier/") not in DRY_FILES:
                yield f"{place}: this file is of the half without LibTorch"


def self_test():
    for folder, (level, allowed) in TABLE.items():
        for target in allowed.split():
            assert TABLE[target][0] < level, f"{folder} -> {target} does not go down"
    caught = {
        "espalier/base/a.h": '#include "espalier/text/tokenizer.h"',
        "espalier/text/a.cpp": '#include "espalier/image/image.h"',
        "espalier/prune/a.cpp": '#include "espalier/model/load.h"',
        "espalier/image/a.cpp": "#include <ATen/ATen.h>",
        "espalier/cli/inspect.cpp": '  #  include "espalier/model/load.h"',
        "espalier/cli/init.cpp": "#include <CLI/CLI.hpp>",
        "espalier/misc/a.h": "",
        "tests/model/a_test.cpp": "#include <torch/torch.h>",
    }
    passed = {
        "espalier/base/a.h": '#include "espalier/base/error.h"',
        "espalier/model/a.cpp": '#include <ATen/ATen.h>\n#include "espalier/data/encoder.h"',
        "espalier/cli/arguments.cpp": "#include <CLI/CLI.hpp>",
        "espalier/cli/generate.cpp": '#include "espalier/model/load.h"',
        "tests/model/a_test.cpp": '#include "espalier/model/load.h"',
    }
    for path, text in caught.items():
        assert len(list(faults(path, text))) == 1, f"not caught: {path}: {text}"
    for path, text in passed.items():
        assert not list(faults(path, text)), f"wrongly caught: {path}: {text}"


def main():
    if "--self-test" in sys.argv[1:]:
        self_test()
    files = [p for f in ("espalier", "tests", "benchmarks") for p in sorted((TOP / f).rglob("*"))
             if p.suffix in (".h", ".cpp")]
    found = [fault for p in files
             for fault in faults(p.relative_to(TOP).as_posix(), p.read_text(encoding="utf-8"))]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
