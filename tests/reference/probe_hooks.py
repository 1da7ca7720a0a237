# SPDX-License-Identifier: Apache-2.0
"""What module hooks on transformers see of a probe, and what it makes of a pruned checkpoint.

    probe_hooks.py probe MODEL RECORD --dtype float32 --out F.json
        Runs every sample of an Espalier probe record by itself, hooks on every decoder layer (the
        paper's appendix A.1), and writes how far the record's numbers lie from what they see.
    probe_hooks.py pruned EXPORT BASE --image I --prompt T --max-new-tokens N --out F.json
        Loads a pruned checkpoint, removes the same layers from the base in memory, and writes the
        largest difference of their logits and the greedy tokens of both.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import reference  # makes torchvision importable beside a CPU torch

import safetensors.torch
import torch


class LayerHooks:
    """Sees each decoder layer's input and output, sums over tokens, keeps nothing else."""

    def __init__(self, layers) -> None:
        self.similarity: list[torch.Tensor] = []  # [T] a layer, in order
        self.pooled: list[tuple[torch.Tensor, torch.Tensor]] = []  # mean input, mean output
        self.inputs: list[torch.Tensor] | None = None
        self._before = None
        self._handles = []
        for layer in layers:
            self._handles.append(
                layer.register_forward_pre_hook(self._enter, with_kwargs=True))
            self._handles.append(layer.register_forward_hook(self._leave))

    def _enter(self, _module, args, kwargs) -> None:
        self._before = (args[0] if args else kwargs["hidden_states"])[0].float()

    def _leave(self, _module, _args, output) -> None:
        after = (output[0] if isinstance(output, tuple) else output)[0].float()
        before = self._before
        self.similarity.append(torch.nn.functional.cosine_similarity(before, after, dim=-1))
        self.pooled.append((before.mean(0), after.mean(0)))
        if self.inputs is not None:
            self.inputs.append(before)

    def clear(self, keep_inputs: bool = False) -> None:
        self.similarity.clear()
        self.pooled.clear()
        self.inputs = [] if keep_inputs else None


def samples_of(record: dict, arrays: dict) -> list[tuple[int, pathlib.Path, str]]:
    """Each sample's subtask, picture and prompt, in the record's order."""
    subtasks = [(domain, subtask) for domain in record["domains"] for subtask in domain["subtasks"]]
    samples = []
    for subtask, image in zip(arrays["sample.subtask"].tolist(), arrays["sample.image"].tolist()):
        picture = record["pictures"][image]
        source = pathlib.Path(record["domains"][picture["domain"]]["source"])
        folder = source if source.is_dir() else source.parent
        samples.append((subtask, folder / picture["path"], subtasks[subtask][1]["prompt"]))
    return samples


def largest(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).abs().max())


def compare_probe(arguments: argparse.Namespace) -> dict:
    record = json.loads((arguments.record / "probe.json").read_text(encoding="utf-8"))
    arrays = safetensors.torch.load_file(arguments.record / "probe.safetensors")
    model = reference.load_model(arguments.model, reference.DTYPES[arguments.dtype])
    processor = reference.load_processor(arguments.model)
    hooks = LayerHooks(model.model.language_model.layers)
    measured = record["measured_layers"]
    layers = record["model"]["num_layers"]
    subtasks = arrays["count"].shape[0]
    pooled = torch.zeros(2, subtasks, layers, record["model"]["hidden_size"], dtype=torch.float64)
    windows = torch.zeros(subtasks, layers, layers, dtype=torch.float64)
    far = {"similarity": 0.0, "similarity_visual": 0.0, "similarity_text": 0.0}
    for s, (subtask, picture, prompt) in enumerate(samples_of(record, arrays)):
        inputs = reference.encode(processor, [reference.open_picture(picture)], prompt)
        hooks.clear(keep_inputs=True)
        with torch.inference_mode():
            model(**inputs, use_cache=False, logits_to_keep=1)
        visual = inputs["input_ids"][0] == model.config.image_token_id
        assert int(visual.sum()) == int(arrays["sample.visual_tokens"][s])
        assert visual.shape[0] == int(arrays["sample.tokens"][s])
        for name, mask in (("similarity", torch.ones_like(visual)), ("similarity_visual", visual),
                           ("similarity_text", ~visual)):
            seen = torch.stack([hooks.similarity[layer][mask].mean() for layer in measured])
            far[name] = max(far[name], largest(arrays[name][s, measured], seen))
        for layer in measured:
            pooled[0, subtask, layer] += hooks.pooled[layer][0]
            pooled[1, subtask, layer] += hooks.pooled[layer][1]
        states = torch.stack(hooks.inputs)  # [L, T, H]
        unit = torch.nn.functional.normalize(states, dim=-1)
        windows[subtask] += torch.einsum("ith,jth->ij", unit, unit).double() / unit.shape[1]
    count = arrays["count"].double()
    scale = pooled.abs().max()
    upper = torch.triu(torch.ones(layers, layers), diagonal=1).bool()
    far["window_cosine"] = largest((arrays["window_cosine_sum"] / count[:, None, None])[:, upper],
                                   (windows / count[:, None, None])[:, upper])
    far["pooled_input"] = largest(arrays["pooled_input_sum"][0] / scale, pooled[0] / scale)
    far["pooled_output"] = largest(arrays["pooled_output_sum"][0] / scale, pooled[1] / scale)
    return {"samples": s + 1, "largest_difference": far}


def remove_layers(model, removed: list[int]) -> None:
    """Removes decoder layers in memory, as a user of transformers would."""
    language = model.model.language_model
    kept = [layer for i, layer in enumerate(language.layers) if i not in removed]
    for i, layer in enumerate(kept):
        layer.self_attn.layer_idx = i  # where it keeps its keys in the cache
    language.layers = torch.nn.ModuleList(kept)
    language.config.num_hidden_layers = len(kept)
    model.config.text_config.num_hidden_layers = len(kept)


def answer(model, inputs, max_new_tokens: int) -> tuple[torch.Tensor, list[int]]:
    with torch.inference_mode():
        logits = model(**inputs, use_cache=False).logits[0].clone()
        ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return logits, ids[0, inputs["input_ids"].shape[1]:].tolist()


def compare_pruned(arguments: argparse.Namespace) -> dict:
    plan = json.loads((arguments.model / "espalier.json").read_text(encoding="utf-8"))
    dtype = reference.DTYPES[arguments.dtype]
    processor = reference.load_processor(arguments.model)
    pictures = [reference.open_picture(path) for path in arguments.image]
    inputs = reference.encode(processor, pictures, arguments.prompt)
    export = reference.load_model(arguments.model, dtype)
    export_logits, export_tokens = answer(export, inputs, arguments.max_new_tokens)
    del export
    base = reference.load_model(arguments.base, dtype)
    remove_layers(base, plan["removed"])
    base_logits, base_tokens = answer(base, inputs, arguments.max_new_tokens)
    return {"logits_difference": largest(export_logits, base_logits), "export": export_tokens,
            "removed_in_memory": base_tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    probe = commands.add_parser("probe")
    probe.add_argument("model", type=pathlib.Path)
    probe.add_argument("record", type=pathlib.Path)
    pruned = commands.add_parser("pruned")
    pruned.add_argument("model", type=pathlib.Path)
    pruned.add_argument("base", type=pathlib.Path)
    pruned.add_argument("--image", type=pathlib.Path, action="append", default=[])
    pruned.add_argument("--prompt", required=True)
    pruned.add_argument("--max-new-tokens", type=int, default=12)
    for command in (probe, pruned):
        command.add_argument("--dtype", choices=sorted(reference.DTYPES), default="float32")
        command.add_argument("--out", type=pathlib.Path, required=True)
        command.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    result = compare_probe(arguments) if arguments.command == "probe" else compare_pruned(arguments)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
