"""Writing trained weights: PEFT folders, safetensors and plain torch files, each whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from chainzoom.atomic import atomic_path, write_bytes
from chainzoom.backbones.lora import Factor
from chainzoom.backbones.torch_common import require


def write_peft(folder: Path, factors: Mapping[str, Factor]) -> None:
    """A PEFT adapter folder, which ``adapters`` of the backbone, PEFT and diffusers read. All factors have one rank and scale."""
    first = next(iter(factors.values()))
    tensors = {}
    for name, factor in factors.items():
        layer = name.removesuffix(".weight")
        tensors[f"base_model.model.{layer}.lora_A.weight"] = factor.down
        tensors[f"base_model.model.{layer}.lora_B.weight"] = factor.up
    config = {
        "peft_type": "LORA",
        "r": first.rank,
        "lora_alpha": first.scale * first.rank,
        "target_modules": sorted(name.removesuffix(".weight") for name in factors),
        "lora_dropout": 0.0,
        "bias": "none",
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    write_bytes(folder / "adapter_config.json", (json.dumps(config, indent=2) + "\n").encode())


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Named tensors as safetensors, at the precision they have."""
    library = require("safetensors.torch", "training", "train")
    with atomic_path(path) as part:
        library.save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, str(part))


def write_tensors(path: Path, content: Any) -> None:
    """Anything made of tensors, numbers, strings and containers as a torch file (read it with ``weights_only``)."""
    with atomic_path(path) as part:
        torch.save(content, part)
