# SPDX-License-Identifier: Apache-2.0
"""Shows that the tests which hold the model against the reference fail when the model is wrong.

    python tests/reference/mutate.py [--work build/mutate] [--only NAME ...] [--list]

The source tree is copied into the work folder and built there. Then, one after the other, each
mutation below is applied to the copy, the tests that should notice are built and run, and the copy
is put right again. A mutation that no test notices is a survivor.

Exit: 0 every mutation was noticed; 1 there are survivors; 2 the check itself is broken: a text to
be altered is not found exactly once, a mutant does not compile, a test fails without a mutation.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "espalier_torch_tests"
STAGES = "*/Parity.EveryStageAgrees/*"
EQUAL = "*/Parity.PixelsIdsAndPositionsAreEqual/*"
NOTICED, SURVIVED, BROKEN = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One alteration, and the tests (a GoogleTest filter) of which at least one must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "M-RoPE: axes H and W exchanged",
        "espalier/model/rope.cpp",
        "copy_(angles[axis].slice(-1, axis, end, 3))",
        "copy_(angles[3 - axis].slice(-1, axis, end, 3))",
        STAGES,
    ),
    Mutation(
        "M-RoPE: axes in three blocks, not interleaved",
        "espalier/model/rope.cpp",
        "    chosen.slice(-1, axis, end, 3).copy_(angles[axis].slice(-1, axis, end, 3));",
        "    const std::int64_t begin =\n"
        "        config.mrope_section[0] + (axis == 2 ? config.mrope_section[1] : 0);\n"
        "    const std::int64_t count = end / 3;\n"
        "    chosen.narrow(-1, begin, count).copy_(angles[axis].narrow(-1, begin, count));",
        STAGES,
    ),
    Mutation(
        "q norm: with the weight of k's",
        "espalier/model/decoder.cpp",
        "norm_and_rotate(heads_of(weights.q_proj), weights.q_norm,",
        "norm_and_rotate(heads_of(weights.q_proj), weights.k_norm,",
        STAGES,
    ),
    Mutation(
        "k norm: without its weight",
        "espalier/model/decoder.cpp",
        "norm_and_rotate(heads_of(weights.k_proj), weights.k_norm,",
        "norm_and_rotate(heads_of(weights.k_proj), at::ones_like(weights.k_norm),",
        STAGES,
    ),
    Mutation(
        "DeepStack: one layer later",
        "espalier/model/qwen3_vl.cpp",
        "    if (i < visual.features.deepstack.size()) {\n"
        "      hidden = hidden.index_add(0, visual.rows, visual.features.deepstack[i]);",
        "    if (i > 0 && i - 1 < visual.features.deepstack.size()) {\n"
        "      hidden = hidden.index_add(0, visual.rows, visual.features.deepstack[i - 1]);",
        STAGES,
    ),
    Mutation(
        "DeepStack: features of the main merger",
        "espalier/model/vision.cpp",
        "merge(tower.deepstack_merger_list[level], hidden, true)",
        "merge(tower.merger, hidden, false)",
        STAGES,
    ),
    Mutation(
        "GELU: the tanh form in the mergers",
        "espalier/model/vision.cpp",
        "gelu_erf(apply(merger.linear_fc1,",
        "gelu_tanh(apply(merger.linear_fc1,",
        STAGES,
    ),
    Mutation(
        "GELU: the erf form in the vision blocks",
        "espalier/model/vision.cpp",
        "gelu_tanh(apply(block.mlp.linear_fc1,",
        "gelu_erf(apply(block.mlp.linear_fc1,",
        STAGES,
    ),
    Mutation(
        "causal mask: none",
        "espalier/model/decoder.cpp",
        ".causal = true",
        ".causal = false",
        STAGES,
    ),
    Mutation(
        "causal mask: none, seen without the reference",
        "espalier/model/decoder.cpp",
        ".causal = true",
        ".causal = false",
        "*/Properties.ChangingATokenChangesNoLogitBeforeIt/*",
    ),
    Mutation(
        "patch order: row by row, not block by block",
        "espalier/model/pixels.cpp",
        ".permute({1, 4, 2, 5, 0, 3, 6})",
        ".permute({1, 2, 4, 5, 0, 3, 6})",
        EQUAL,
    ),
    Mutation(
        "patch order: columns before rows inside a block",
        "espalier/model/pixels.cpp",
        ".permute({1, 4, 2, 5, 0, 3, 6})",
        ".permute({1, 4, 5, 2, 0, 3, 6})",
        EQUAL,
    ),
    Mutation(
        "interpolation: the columns' two weights exchanged",
        "espalier/model/vision.cpp",
        "rows.weight[corner / 2] * columns.weight[corner % 2]",
        "rows.weight[corner / 2] * columns.weight[1 - corner % 2]",
        STAGES,
    ),
    Mutation(
        "interpolation: ends not on ends",
        "espalier/model/vision.cpp",
        "static_cast<float>(std::max<std::int64_t>(size - 1, 1))",
        "static_cast<float>(size)",
        STAGES,
    ),
    Mutation(
        "RMSNorm: one rounding less in bfloat16",
        "espalier/model/fused_loops.cpp",
        "out[i] = narrow<Number>(wide(loop.weight[i]) * rounded<Number>(wide(x[i]) * scale));",
        "out[i] = narrow<Number>(wide(loop.weight[i]) * (wide(x[i]) * scale));",
        "BfloatKernels.RmsNorm*:*/Kernels.RmsNormIsItsTwin/*",
    ),
]


class Broken(Exception):
    """The check cannot say anything."""


def source_files() -> list[pathlib.Path]:
    """Tracked files and new ones that git does not ignore, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout
    paths = (pathlib.Path(name) for name in listed.split("\0") if name)
    return [path for path in paths if (ROOT / path).is_file()]


def copy_tree(tree: pathlib.Path) -> None:
    """Makes the copy equal to the source; a file that is equal keeps its time, for the build."""
    wanted = source_files()
    for path in wanted:
        source, copy = ROOT / path, tree / path
        if copy.is_file() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    keep = set(wanted)
    for copy in tree.rglob("*"):
        relative = copy.relative_to(tree)
        if copy.is_file() and relative not in keep:
            copy.unlink()


def torch_root() -> list[str]:
    """The LibTorch of an existing build, so that the copy finds the same one."""
    for cache in sorted(ROOT.glob("build/*/CMakeCache.txt")):
        match = re.search(r"^TorchWheel_ROOT:PATH=(.+)$", cache.read_text(), re.MULTILINE)
        if match:
            return [f"-DTorchWheel_ROOT={match[1]}"]
    return []


def run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"{what} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def configure(tree: pathlib.Path, extra: list[str]) -> None:
    run(["cmake", "-S", str(tree), "-B", str(tree.parent / "build"), "-G", "Ninja",
         "-DCMAKE_BUILD_TYPE=Release", *torch_root(), *extra], "configuring the copy")


def build(tree: pathlib.Path, what: str) -> None:
    run(["cmake", "--build", str(tree.parent / "build"), "--target", TARGET], f"building {what}")


def run_tests(tree: pathlib.Path, tests: str) -> tuple[int, list[str], int]:
    """Exit status, the names of failed tests, and how many ran."""
    done = subprocess.run(
        [str(tree.parent / "build" / "bin" / TARGET), f"--gtest_filter={tests}", "--gtest_brief=0",
         "--gtest_color=no"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    names = re.findall(r"^\[  FAILED  \] (\w[\w/]*\.[\w/]+)", done.stdout, re.MULTILINE)
    failed = sorted(set(names))
    ran = len(re.findall(r"^\[ RUN      \]", done.stdout, re.MULTILINE))
    return done.returncode, failed, ran


def mutated(text: str, mutation: Mutation) -> str:
    count = text.count(mutation.old)
    if count != 1:
        raise Broken(f"{mutation.name}: {mutation.file} has the text to be altered {count} times, "
                     f"want once:\n{mutation.old}")
    return text.replace(mutation.old, mutation.new)


def check(tree: pathlib.Path, mutation: Mutation) -> bool:
    """Whether a test notices."""
    path = tree / mutation.file
    right = path.read_text(encoding="utf-8")
    started = time.monotonic()
    try:
        path.write_text(mutated(right, mutation), encoding="utf-8")
        build(tree, f"the mutant '{mutation.name}'")
        status, failed, ran = run_tests(tree, mutation.tests)
    finally:
        path.write_text(right, encoding="utf-8")
    seconds = f"{time.monotonic() - started:.0f} s"
    if status == 0:
        print(f"SURVIVED  {mutation.name}: {ran} tests of {mutation.tests} pass ({seconds})",
              flush=True)
        return False
    said = f"first {failed[0]}" if failed else f"none by name, but the program's exit is {status}"
    print(f"noticed   {mutation.name}: {len(failed)} of {ran} tests fail ({seconds}), {said}",
          flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "mutate")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the mutations and stop")
    parser.add_argument("--cmake-arg", action="append", default=[], help="for the copy's configure")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if not arguments.only or m.name in arguments.only]
    if arguments.list:
        for mutation in chosen:
            print(f"{mutation.name}: {mutation.file}: {mutation.tests}")
        return NOTICED
    tree = arguments.work.resolve() / "tree"
    try:
        if not chosen:
            raise Broken("no such mutation")
        copy_tree(tree)
        for mutation in chosen:  # before anything is built
            mutated((tree / mutation.file).read_text(encoding="utf-8"), mutation)
        configure(tree, arguments.cmake_arg)
        build(tree, "the copy")
        for tests in sorted({mutation.tests for mutation in chosen}):
            status, failed, ran = run_tests(tree, tests)
            if status != 0 or ran == 0:
                raise Broken(f"without a mutation, {tests}: {ran} tests run, exit {status}, "
                             f"failed: {failed}")
        survivors = [mutation.name for mutation in chosen if not check(tree, mutation)]
    except Broken as broken:
        print(broken, file=sys.stderr)
        return BROKEN
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutations noticed"
          + (f"; survivors: {', '.join(survivors)}" if survivors else ""))
    return SURVIVED if survivors else NOTICED


if __name__ == "__main__":
    sys.exit(main())
