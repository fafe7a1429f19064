"""Reading PEFT and diffusers LoRA adapters into updates, strictly: every tensor is understood and used, or the file is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainzoom.backbones.checkpoints import opened, read_json, read_tensors
from chainzoom.backbones.lora import Factor, Factors
from chainzoom.backbones.torch_common import torch
from chainzoom.errors import WeightsError
from chainzoom.torch_io import existing

_KEY = re.compile(
    r"^(?:base_model\.model\.)?(?:transformer\.|unet\.)?(?P<layer>.+?)\.(?:lora\.|lora_)(?P<half>A|B|down|up)(?:\.[A-Za-z_]\w*)??\.weight$"
)
_ALPHA = re.compile(r"^(?:base_model\.model\.)?(?:transformer\.|unet\.)?(?P<layer>.+)\.alpha$")
_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin")
_UNSUPPORTED = {"use_dora": "DoRA", "lora_bias": "LoRA biases", "modules_to_save": "fully trained modules"}


def read_adapter(path: str | os.PathLike[str], alpha: float | None = None) -> tuple[Factors, Path]:
    """The updates of an adapter and the tensor file that held them.

    ``path`` is a PEFT folder (``adapter_config.json`` + ``adapter_model.safetensors`` or ``.bin``), a diffusers LoRA folder, or the tensor
    file itself.
    Rank and alpha come from ``adapter_config.json`` (``rank_pattern``, ``alpha_pattern`` and ``use_rslora`` too), from diffusers' header
    or from ``.alpha`` tensors; ``alpha`` overrides them and is needed when the file says nothing. Raises WeightsError.
    """
    found = existing(path, "adapter")
    file = found if found.is_file() else next((found / name for name in _FILES if (found / name).is_file()), None)
    if file is None:
        raise WeightsError(f"adapter folder {found} holds none of {', '.join(_FILES)}; give a PEFT adapter")
    tensors = read_tensors(file, "adapter")
    config = _config(file)
    for key, meaning in _UNSUPPORTED.items():
        if config.get(key):
            raise WeightsError(f"adapter {file} uses {meaning} ({key}), which cannot be merged here; give a plain LoRA adapter")
    halves, alphas = _sort(tensors, file)
    factors: Factors = {}
    for layer, pair in halves.items():
        if set(pair) != {"A", "B"}:
            raise WeightsError(f"adapter {file}: {layer} lacks one of its two LoRA factors; the file is incomplete")
        rank = int(pair["A"].shape[0])
        expected = _by_pattern(config.get("rank_pattern"), layer, config.get("r"))
        if expected is not None and int(expected) != rank:
            raise WeightsError(
                f"adapter {file}: {layer} has rank {rank}, adapter_config.json says {int(expected)}; the files do not belong together"
            )
        scale = _scale(alpha if alpha is not None else alphas.get(layer), config, layer, rank, file)
        factors[f"{layer}.weight"] = Factor(pair["B"].float(), pair["A"].float(), scale)
    if not factors:
        raise WeightsError(f"adapter {file} holds no LoRA tensors; give a PEFT adapter")
    return factors, file


def _sort(tensors: Mapping[str, torch.Tensor], file: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, float]]:
    halves: dict[str, dict[str, torch.Tensor]] = {}
    alphas: dict[str, float] = {}
    for key, tensor in tensors.items():
        if match := _KEY.match(key):
            half = {"down": "A", "up": "B"}.get(match["half"], match["half"])
            pair = halves.setdefault(match["layer"], {})
            if half in pair:
                raise WeightsError(f"adapter {file} holds two factors for {match['layer']}; give a file with one adapter")
            pair[half] = tensor
        elif (match := _ALPHA.match(key)) and tensor.numel() == 1:
            alphas[match["layer"]] = float(tensor)
        else:
            raise WeightsError(
                f"adapter {file}: the tensor {key} is no LoRA factor and would go unused; give a plain LoRA adapter for this model"
            )
    return halves, alphas


def _config(file: Path) -> dict[str, Any]:
    """PEFT's configuration: beside the file, or in diffusers' safetensors header; empty when there is none."""
    beside = file.parent / "adapter_config.json"
    if beside.is_file() and file.name.startswith("adapter_model"):
        return read_json(beside)
    if file.suffix != ".safetensors":
        return {}
    with opened(file, "adapter") as source:
        header = (source.metadata() or {}).get("lora_adapter_metadata")
    if not header:
        return {}
    prefixes = ("transformer.", "unet.")
    flat = {key: value for key, value in json.loads(header).items() if not key.startswith("text_encoder")}
    return {key.removeprefix(prefixes[0]).removeprefix(prefixes[1]): value for key, value in flat.items()}


def _by_pattern(patterns: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the layer's name wins."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return value
    return default


def _scale(alpha: float | None, config: Mapping[str, Any], layer: str, rank: int, file: Path) -> float:
    if alpha is None:
        alpha = _by_pattern(config.get("alpha_pattern"), layer, config.get("lora_alpha"))
    if alpha is None:
        raise WeightsError(f"adapter {file} does not say its alpha (no adapter_config.json beside it); give alpha= (OracleZoom: 32)")
    return float(alpha) / float(rank**0.5 if config.get("use_rslora") else rank)
