"""Reading weight files safely: pickles as data only, diffusers folders with every key accounted for, and their identity for the record."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from chainzoom.backbones.torch_common import require, torch
from chainzoom.errors import WeightsError
from chainzoom.torch_io import dtype_keyword, existing, quiet_loading, read_pickle
from chainzoom.weights import Weights, cached_sha256

Tensors = dict[str, torch.Tensor]
WeightFile = tuple[Path, str, str]
"""File, its name in records, its licence."""


def read_tensors(path: str | os.PathLike[str], what: str) -> Tensors:
    """A flat ``{name: tensor}`` file, safetensors or pickle by its extension."""
    file = existing(path, what)
    if file.suffix == ".safetensors":
        with opened(file, what) as source:
            return {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 - not a dict
    return as_tensors(read_pickle(file, what), file, what)


def as_tensors(content: object, file: Path, what: str) -> Tensors:
    """``content`` when it is a flat dict of tensors; WeightsError naming the file otherwise."""
    if isinstance(content, Mapping) and content and all(isinstance(k, str) and torch.is_tensor(v) for k, v in content.items()):
        return dict(content)
    raise WeightsError(f"{what} {file} should hold named tensors but holds {type(content).__name__}; it is another kind of file")


def opened(file: Path, what: str) -> Any:
    """An open safetensors file (context manager, lazily read)."""
    safetensors = require("safetensors", what)
    try:
        return safetensors.safe_open(file, framework="pt", device="cpu")
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{what} {file} is truncated or not a safetensors file; fetch it again") from error


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files that hold one part of a diffusers folder (shards through their index), in order.

    The library's own precedence is followed: ``diffusion_pytorch_model`` or ``model`` without a variant suffix.
    """
    for stem in ("diffusion_pytorch_model", "model"):
        single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
        if single.is_file():
            return [single]
        if index.is_file():
            shards = sorted(set(read_json(index)["weight_map"].values()))
            return [existing(folder / shard, "checkpoint shard") for shard in shards]
    raise WeightsError(f"{folder} holds no *.safetensors weights; fetch the model in diffusers' layout")


_OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
"""How early diffusers VAEs call their attention layers; ``from_pretrained`` translates them."""


def lazy_reader(files: Iterable[Path]) -> Callable[[str], torch.Tensor]:
    """A function that reads one named tensor from the files, at the precision they hold, each time it is called."""
    where: dict[str, Path] = {}
    for file in files:
        with opened(file, "checkpoint") as source:
            where.update(dict.fromkeys(source.keys(), file))

    def read(name: str) -> torch.Tensor:
        if name not in where:
            for new, old in _OLD_NAMES.items():
                name = name.replace(new, old)
        if name not in where:
            raise WeightsError(f"the checkpoint holds no tensor {name}")
        with opened(where[name], "checkpoint") as source:
            tensor: torch.Tensor = source.get_tensor(name)
            return tensor

    return read


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; WeightsError when missing or malformed."""
    try:
        content = json.loads(existing(file, "file").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} is not readable JSON; fetch the model again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} should hold a JSON object; fetch the model again")
    return content


_HARMLESS = re.compile(r"(^|\.)position_ids$")
"""Buffers that old CLIP files carry and that newer classes compute."""


def load_part(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """One part of a diffusers folder on the CPU, in eval mode, every expected key present and every key in the files used.

    ``cls`` is a diffusers or transformers model class. Raises WeightsError naming the folder (missing, truncated, of another shape,
    of another model).
    """
    existing(folder, "model folder")
    read_json(folder / "config.json")
    tensor_files(folder)
    keyword = dtype_keyword(cls.__module__)
    try:
        with quiet_loading():
            model, info = cls.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=True, **{keyword: dtype}
            )
    except Exception as error:  # whatever class: both libraries raise OSError, ValueError, RuntimeError, KeyError, SafetensorError, ...
        first = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder} is not a usable {cls.__name__} (truncated, or another model): {first}; fetch it again") from error
    check_coverage(folder, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    return model.requires_grad_(False).eval()


def check_coverage(file: Path, missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[object] = ()) -> None:
    """WeightsError when keys are missing, unused or of another shape; the message shows the first of each kind."""
    problems = []
    for label, found in (("missing", missing), ("not expected", unexpected), ("of another shape", mismatched)):
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in found)
        names = [name for name in names if label != "not expected" or not _HARMLESS.search(name)]
        if names:
            problems.append(f"{len(names)} tensors {label} (first: {names[0]})")
    if problems:
        raise WeightsError(f"{file} does not fit this model: {', '.join(problems)}; it was made for another one, or is incomplete")


def check_pairs(folder: Path, *pairs: tuple[str, int, str, int]) -> None:
    """WeightsError unless each pair of sizes (name, size, name, size) agrees: parts of different models do not run together."""
    for left, size, right, other in pairs:
        if size != other:
            raise WeightsError(
                f"{folder}: {left} is {size} but {right} is {other}; the parts are of different models: fetch the whole folder again"
            )


def check_state(file: Path, expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """WeightsError unless both have the same names and shapes."""
    wrong = [name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape]
    check_coverage(file, expected.keys() - state.keys(), state.keys() - expected.keys(), wrong)


def describe_file(file: Path, name: str, licence: str) -> Weights:
    """The file's identity for records. A hub snapshot's revision is its commit; any other file's is ``local``."""
    commit = re.search(r"/snapshots/([0-9a-f]{40})/", file.as_posix())
    return Weights(name=name, revision=commit[1] if commit else "local", sha256=cached_sha256(file), licence=licence)
