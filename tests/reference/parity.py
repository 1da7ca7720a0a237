# SPDX-License-Identifier: Apache-2.0
"""Runs `espalier trace` beside the reference and prints where they differ.

    python tests/reference/parity.py --espalier bin/espalier [--work build/parity]
        [--tokenizer DIR] [--max-new-tokens 12] [--only fixtures|adapter|large|prune] [--threads N]

1. Every committed fixture (tests/fixtures/models) against its committed values.
2. Adapters that `espalier finetune` trains on a fixture, on all layers and on some: loaded by peft,
   against `espalier merge` run by us and by transformers.
3. A checkpoint of the released 2B shape with random weights (`espalier init --preset 2b`, kept in
   the work folder), with drawn pictures and, where ESPALIER_TEST_DATA names the test data, two
   real ones: live against transformers, in float32 and in bfloat16.
4. The main job on that checkpoint, in float32: `espalier probe` against module hooks; the pruned export
   loaded by transformers, against the base with the same layers removed there in memory, and the
   greedy tokens of both against ours.

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
# A similarity is a mean over tokens of cosines of float32 sums in another order.
SIMILARITY_TOLERANCE = 1e-4
# What an adapter must change of the logits, in units of their rms, to be worth comparing.
DOES_SOMETHING = 0.1
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


CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "<image>What is on the left?"},
                  {"role": "assistant", "content": "A circle, cut off."}],
     "images": ["wide.png"]},
    {"messages": [{"role": "user", "content": "How much is 3 + 4?"},
                  {"role": "assistant", "content": "7"}]},
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"},
                  {"role": "user", "content": "<image>How many lines?"},
                  {"role": "assistant", "content": "Two, and one arc."}],
     "images": ["tall.png"]},
]


def check_adapter(arguments: argparse.Namespace, work: pathlib.Path, part: str) -> int:
    """Trains an adapter; peft loads it, we merge it, and the last logits must agree."""
    model, espalier = FIXTURES / "gqa_tied", arguments.espalier
    name = f"adapter-{part.replace(':', '-')}"
    adapter, merged, rows = work / name, work / f"{name}-merged", work / "conversations.jsonl"
    threads = ["--threads", str(arguments.threads)] if arguments.threads > 0 else []
    print(f"== an adapter by espalier finetune --train {part}, float32", flush=True)
    rows.write_text("".join(json.dumps(row) + "\n" for row in CONVERSATIONS), encoding="utf-8")
    run([espalier, "finetune", str(model), "--data", str(rows), "--image-root", str(model),
         "--train", part, "--lora-rank", "4", "--lora-alpha", "8", "--learning-rate", "1e-2",
         "--steps", "10", "--batch", "3", "--dtype", "float32", "--out", str(adapter), "--force",
         "--quiet", *threads])
    run([espalier, "merge", str(model), str(adapter), "--out", str(merged), "--force", "--quiet"])
    case = json.loads((model / "case.json").read_text(encoding="utf-8"))
    hands = {
        "peft": ([sys.executable, str(HERE / "reference.py")], model, ["--adapter", str(adapter)]),
        "without it": ([sys.executable, str(HERE / "reference.py")], model, []),
        "merged, transformers": ([sys.executable, str(HERE / "reference.py")], merged, []),
        "merged, espalier": ([espalier, "trace"], merged, ["--force", "--quiet"]),
    }
    traces = {}
    for hand, (program, checkpoint, more) in hands.items():
        out = work / f"{name}.{len(traces)}.safetensors"
        command = trace_command(program, checkpoint, [model / image for image in case["images"]],
                                case["prompt"], "float32", 0, out, arguments.threads)
        run([*command, *more])
        traces[hand] = compare.read_trace(out)
    wanted = traces.pop("peft")
    far = {hand: compare.max_over_rms(trace.tensors["logits"], wanted.tensors["logits"])
           for hand, trace in traces.items()}
    print("  largest difference from peft's logits, in units of their rms: "
          + ", ".join(f"{hand} {value:.1e}" for hand, value in far.items()))
    if far.pop("without it") < DOES_SOMETHING:
        print("  the adapter does next to nothing")
        return compare.BEYOND
    return (compare.AGREE if max(far.values()) <= compare.FLOAT32_MAX_OVER_RMS
            else compare.BEYOND)


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


def make_large(arguments: argparse.Namespace, work: pathlib.Path) -> pathlib.Path:
    """The checkpoint of the 2B shape, made where there is none."""
    model = work / "2b"
    if not (model / "config.json").exists():
        tokenizer = ["--tokenizer", str(arguments.tokenizer)] if arguments.tokenizer else []
        run([arguments.espalier, "init", str(model), "--preset", "2b", "--quiet", *tokenizer])
    return model


def check_large(arguments: argparse.Namespace, work: pathlib.Path) -> int:
    model = make_large(arguments, work)
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


def probe_domains(work: pathlib.Path, pictures: list[pathlib.Path]) -> list[str]:
    """One folder a domain: every second picture is a problem, the others are photos."""
    arguments = []
    for name, chosen in (("math", pictures[::2]), ("nonmath", pictures[1::2])):
        folder = work / f"probe-{name}"
        folder.mkdir(exist_ok=True)
        for picture in chosen:
            (folder / picture.name).write_bytes(picture.read_bytes())
        arguments += ["--domain", f"{name}={folder}"]
    return arguments


def tokens_of(trace: pathlib.Path) -> list[int]:
    """The greedy tokens that `espalier trace` generated."""
    return compare.read_trace(trace).tensors["generated"].tolist()


def check_prune(arguments: argparse.Namespace, work: pathlib.Path) -> int:
    """Probe, rank, prune; the reference hooks the same layers and loads the same export."""
    espalier, model = arguments.espalier, work / "2b"
    pictures = large_pictures(work)
    record, ranking, pruned = work / "probe", work / "ranking.json", work / "2b-pruned"
    threads = ["--threads", str(arguments.threads)] if arguments.threads > 0 else []
    print(f"== the main job on 2b, {len(pictures)} pictures, float32", flush=True)
    hooks = [sys.executable, str(HERE / "probe_hooks.py")]
    run([espalier, "probe", str(model), *probe_domains(work, pictures), "--dtype", "float32",
         "--out", str(record), "--force", "--quiet", *threads])
    seen = work / "hooks.json"
    run([*hooks, "probe", str(model), str(record), "--out", str(seen), *threads])
    far = json.loads(seen.read_text())["largest_difference"]
    print("  largest difference from hooks: "
          + ", ".join(f"{name} {value:.1e}" for name, value in far.items()))
    status = compare.AGREE if max(far.values()) <= SIMILARITY_TOLERANCE else compare.BEYOND

    run([espalier, "rank", str(record), "--out", str(ranking), "--force", "--quiet"])
    run([espalier, "prune", str(model), "--ranking", str(ranking), "--budget", "25%", "--force",
         "--quiet", "--out", str(pruned)])
    run([espalier, "verify", str(pruned), "--against", str(model), *threads])
    common = ["--image", str(pictures[0]), "--prompt", PROMPT, "--dtype", "float32",
              "--max-new-tokens", str(arguments.max_new_tokens), *threads]
    trace, answers = work / "pruned.safetensors", work / "pruned.json"
    run([espalier, "trace", str(pruned), *common, "--out", str(trace), "--force", "--quiet"])
    run([*hooks, "pruned", str(pruned), str(model), *common, "--out", str(answers)])
    answer = json.loads(answers.read_text())
    ours = tokens_of(trace)
    print(f"  export beside layers removed in memory: logits differ by {answer['logits_difference']}")
    print(f"  greedy tokens: ours {ours}, transformers {answer['export']}")
    if answer["logits_difference"] != 0 or not (
            ours == answer["export"] == answer["removed_in_memory"]):
        status = compare.BEYOND
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
    parser.add_argument("--only", choices=["fixtures", "adapter", "large", "prune"])
    parser.add_argument("--threads", type=int, default=0, help="0: as each side chooses")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, int] = {}
    try:
        check_versions()
        if arguments.only in (None, "fixtures"):
            for folder in sorted(path for path in FIXTURES.iterdir() if path.is_dir()):
                results[folder.name] = check_fixture(
                    arguments.espalier, folder, arguments.work, arguments.threads
                )
        if arguments.only in (None, "adapter"):
            for part in ("lora", "lora:1-2"):
                results[f"adapter {part}"] = check_adapter(arguments, arguments.work, part)
        if arguments.only in (None, "large"):
            results["2b"] = check_large(arguments, arguments.work)
        if arguments.only in (None, "prune"):
            make_large(arguments, arguments.work)
            results["the main job"] = check_prune(arguments, arguments.work)
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        return COMMAND_FAILED
    words = {compare.AGREE: "agrees", compare.BEYOND: "beyond the tolerance",
             compare.MISSHAPEN: "tensors missing or surplus"}
    print("== " + ", ".join(f"{name}: {words[status]}" for name, status in results.items()))
    return max(results.values())


if __name__ == "__main__":
    sys.exit(main())
