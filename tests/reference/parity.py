# SPDX-License-Identifier: Apache-2.0
"""Runs `espalier trace` beside the reference and prints where they differ.

    python tests/reference/parity.py --espalier bin/espalier [--work build/parity]
        [--tokenizer DIR] [--max-new-tokens 12] [--only fixtures|large] [--threads N]

1. Every committed fixture (tests/fixtures/models) against its committed values.
2. A checkpoint of the released 2B shape with random weights (`espalier init --preset 2b`, kept in
   the work folder), with drawn pictures and, where ESPALIER_TEST_DATA names the test data, two
   real ones: live against transformers, in float32 and in bfloat16.

Every model runs in a process of its own, one at a time: 2B in float32 needs 9 GB. The reference's
traces are kept in the work folder and made again when the command that made them, or a file that
it read, is newer or another.

Exit: 0 all agree; 1 beyond a tolerance; 2 a tensor is missing or surplus; 3 a command failed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import compare

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "models"
COMMAND_FAILED = 3
PROMPT = "Compare the pictures: what is on the left of each, and how many things are there?"


class CommandFailed(Exception):
    """A command that had to succeed did not."""


def run(command: list[str]) -> None:
    """Runs a command; its output is shown only where it fails."""
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(
            f"exit {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}".rstrip()
        )
    name = " ".join(pathlib.Path(word).name for word in command[:2])
    print(f"  {name}: {time.monotonic() - started:.0f} s", flush=True)


def trace_command(
    program: list[str],
    model: pathlib.Path,
    images: list[pathlib.Path],
    prompt: str,
    dtype: str,
    max_new_tokens: int,
    out: pathlib.Path,
    threads: int,
) -> list[str]:
    """The same arguments for `espalier trace` and for reference.py."""
    command = [*program, str(model)]
    for image in images:
        command += ["--image", str(image)]
    command += ["--prompt", prompt, "--dtype", dtype, "--out", str(out)]
    if max_new_tokens > 0:
        command += ["--max-new-tokens", str(max_new_tokens)]
    if threads > 0:
        command += ["--threads", str(threads)]
    return command


def check_fixture(espalier: str, folder: pathlib.Path, work: pathlib.Path, threads: int) -> int:
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    found = work / f"{folder.name}.safetensors"
    print(f"== fixture {folder.name}", flush=True)
    command = trace_command(
        [espalier, "trace"], folder, [folder / image for image in case["images"]], case["prompt"],
        case["dtype"], case["max_new_tokens"], found, threads,
    )
    run([*command, "--force", "--quiet"])
    return compare.compare(
        compare.read_trace(found), compare.read_trace(folder / "expected.safetensors")
    )


def large_pictures(work: pathlib.Path) -> list[pathlib.Path]:
    """Two drawn pictures of grids that are not square, and two real ones where there are any."""
    import make_model_fixtures as maker

    wide, tall = work / "wide.png", work / "tall.png"
    for path, size, seed in ((wide, (380, 250), 1), (tall, (224, 320), 2)):
        if not path.exists():
            maker.draw(path, maker.Picture(path.name, *size), seed)
    pictures = [wide, tall]
    data = os.environ.get("ESPALIER_TEST_DATA")
    if data:
        photos = sorted((pathlib.Path(data) / "photos").glob("*.jpg"),
                        key=lambda path: (path.stat().st_size, path.name))
        pictures += photos[:2]
    return pictures


def key_of(command: list[str], files: list[pathlib.Path]) -> str:
    """What a reference trace depends on; the model's own files stand for its weights."""
    rows = [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    return json.dumps([command, rows])


def check_large(arguments: argparse.Namespace, work: pathlib.Path) -> int:
    model = work / "2b"
    if not (model / "config.json").exists():
        tokenizer = ["--tokenizer", str(arguments.tokenizer)] if arguments.tokenizer else []
        run([arguments.espalier, "init", str(model), "--preset", "2b", "--quiet", *tokenizer])
    pictures = large_pictures(work)
    status = compare.AGREE
    for dtype in ("float32", "bfloat16"):
        print(f"== 2b, random weights, {len(pictures)} pictures, {dtype}", flush=True)
        expected = work / f"2b.{dtype}.reference.safetensors"
        found = work / f"2b.{dtype}.espalier.safetensors"
        common = (model, pictures, PROMPT, dtype, arguments.max_new_tokens)
        command = trace_command([sys.executable, str(HERE / "reference.py")], *common, expected,
                                arguments.threads)
        key = key_of(command, [HERE / "reference.py", *sorted(model.iterdir()), *pictures])
        key_file = expected.with_suffix(".json")
        if not (expected.exists() and key_file.exists() and key_file.read_text() == key):
            run(command)
            key_file.write_text(key)
        command = trace_command([arguments.espalier, "trace"], *common, found, arguments.threads)
        run([*command, "--force", "--quiet"])
        status = max(
            status, compare.compare(compare.read_trace(found), compare.read_trace(expected))
        )
    return status


def check_versions() -> None:
    """The reference is one version of each package, not any."""
    import importlib.metadata

    text = (HERE / "requirements.txt").read_text(encoding="utf-8")
    for name, wanted in re.findall(r"([\w-]+)==([\w.]+)", text):
        found = importlib.metadata.version(name).split("+")[0]
        if found != wanted:
            raise CommandFailed(f"{name} {found} is installed, the reference is {wanted}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--espalier", default="bin/espalier")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/parity"))
    parser.add_argument("--tokenizer", type=pathlib.Path,
                        help="a folder whose tokenizer the 2B checkpoint gets (byte tokens)")
    parser.add_argument("--max-new-tokens", type=int, default=12)
    parser.add_argument("--only", choices=["fixtures", "large"])
    parser.add_argument("--threads", type=int, default=0, help="0: as each side chooses")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, int] = {}
    try:
        check_versions()
        if arguments.only != "large":
            for folder in sorted(path for path in FIXTURES.iterdir() if path.is_dir()):
                results[folder.name] = check_fixture(
                    arguments.espalier, folder, arguments.work, arguments.threads
                )
        if arguments.only != "fixtures":
            results["2b"] = check_large(arguments, arguments.work)
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        return COMMAND_FAILED
    words = {compare.AGREE: "agrees", compare.BEYOND: "beyond the tolerance",
             compare.MISSHAPEN: "tensors missing or surplus"}
    print("== " + ", ".join(f"{name}: {words[status]}" for name, status in results.items()))
    return max(results.values())


if __name__ == "__main__":
    sys.exit(main())
