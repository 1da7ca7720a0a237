# SPDX-License-Identifier: Apache-2.0
"""Asks transformers the questions that `espalier eval` asked, and compares the answers.

    python tests/reference/same_answers.py MODEL --questions FILE.jsonl --predictions RUN/predictions.jsonl
        [--dtype float32|bfloat16] [--limit N] [--max-new-tokens 64]

Greedy, one question at a time. In float32 every answer must be equal. In bfloat16 two tokens can be
nearly as likely, and which one is taken is then a matter of rounding: an answer may differ where the
reference's two likeliest tokens lie closer than --near (in logits).

Exit: 0 all agree; 1 some do not.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import sys

import reference
import torch


def ask(model, processor, question: dict, folder: pathlib.Path, max_new_tokens: int):
    """The answer, and how far the second token lay below the first at each step."""
    images = question.get("images") or ([question["image"]] if "image" in question else [])
    pictures = [reference.open_picture(folder / image) for image in images]
    inputs = reference.encode(processor, pictures, question["prompt"])
    with torch.inference_mode():
        ids, best = reference.generate(model, inputs, max_new_tokens)
    gaps = [first - second for first, second in best]
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), gaps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--questions", type=pathlib.Path, required=True)
    parser.add_argument("--predictions", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=sorted(reference.DTYPES), default="bfloat16")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--near", type=float, default=0.25)
    arguments = parser.parse_args()

    questions = [json.loads(line) for line in arguments.questions.open(encoding="utf-8")]
    ours = {row["id"]: row["answer"] for row in map(json.loads, arguments.predictions.open(encoding="utf-8"))}
    questions = [question for question in questions if question["id"] in ours]
    if arguments.limit is not None and arguments.limit < len(questions):
        questions = random.Random(arguments.seed).sample(questions, arguments.limit)
    model = reference.load_model(arguments.model, reference.DTYPES[arguments.dtype])
    processor = reference.load_processor(arguments.model)

    equal = near = other = 0
    for question in questions:
        theirs, gaps = ask(model, processor, question, arguments.questions.parent, arguments.max_new_tokens)
        if theirs == ours[question["id"]].strip():
            equal += 1
        elif arguments.dtype == "bfloat16" and min(gaps) < arguments.near:
            near += 1
        else:
            other += 1
            print(f"{question['id']}: theirs {theirs!r}, ours {ours[question['id']]!r}, least gap {min(gaps):.2f}")
    print(f"{len(questions)} answers in {arguments.dtype}: {equal} equal, {near} differ at a near-tie, {other} differ")
    return 1 if other or not questions else 0


if __name__ == "__main__":
    sys.exit(main())
