"""PEFT LoRA adapters on the language half of a vision-language model, whatever module layout they were trained under.

The official adapter was made when the language model sat at ``model.layers``; newer libraries have it at ``model.language_model.layers``
and the vision tower next to it, under the same prefix. Names are translated here and each one is accounted for, because an adapter
that is silently mis-mapped changes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chainzoom.errors import WeightsError
from chainzoom.torch_io import read_pickle

_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?!weight)[^.]+)?\.weight$")
_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "layers_to_transform",
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA as it was saved: ``pairs`` maps a module name of its own layout to (A (rank, in), B (out, rank))."""

    path: Path
    file: Path
    rank: int
    scale: float
    targets: str | tuple[str, ...]
    pairs: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Update:
    """One layer to change by ``scale * up @ down``."""

    name: str
    layer: nn.Linear
    down: Tensor
    up: Tensor


def read_adapter(path: str | Path) -> Adapter:
    """Read a folder with ``adapter_config.json`` and ``adapter_model.safetensors`` (or ``.bin``, read with ``weights_only``).

    Raises WeightsError when something is missing, truncated, unsafe, of another rank than it says, or of a kind that is not supported.
    """
    path = Path(path)
    settings = _settings(path)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if settings.get("peft_type", "LORA") != "LORA" or not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise WeightsError(f"adapter {path}: expected a LoRA with r and lora_alpha in adapter_config.json; give another adapter")
    odd = [name for name in _UNSUPPORTED if settings.get(name)] + (["bias"] if settings.get("bias", "none") != "none" else [])
    if odd:
        raise WeightsError(f"adapter {path} uses {', '.join(odd)}, which is not supported; merge it into its model with PEFT first")
    targets = settings.get("target_modules")
    if not targets or not (isinstance(targets, str) or all(isinstance(target, str) for target in targets)):
        raise WeightsError(f"adapter {path}: adapter_config.json names no target_modules; give another adapter")
    file, state = _tensors(path)
    scale = alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank
    pairs = pairs_of(state, rank, str(path))
    return Adapter(path, file, rank, scale, targets if isinstance(targets, str) else tuple(targets), pairs)


def pairs_of(state: Mapping[str, Tensor], rank: int, source: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name -> (A, B) from a PEFT state dict; WeightsError for keys that are no LoRA, pairs that are half, and other ranks."""
    halves: dict[str, dict[str, Tensor]] = {}
    strange = []
    for key, value in state.items():
        if match := _KEY.match(key):
            halves.setdefault(match["module"], {})[match["side"]] = value
        else:
            strange.append(key)
    if strange:
        raise WeightsError(f"adapter {source} holds keys that are no LoRA of a layer: {_some(strange)}; it was saved by something else")
    if half := [name for name, sides in halves.items() if len(sides) != 2]:
        raise WeightsError(f"adapter {source} holds only one half (A or B) for {_some(half)}; get it again")
    pairs = {name: (sides["A"], sides["B"]) for name, sides in halves.items()}
    for name, (down, up) in pairs.items():
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != rank or up.shape[1] != rank:
            raise WeightsError(
                f"adapter {source}: {name} has shapes {tuple(down.shape)}, {tuple(up.shape)}, but its config says rank {rank}"
            )
    return pairs


def plan(model: nn.Module, adapter: Adapter) -> list[Update]:
    """Where each pair goes in ``model``; nothing is changed.

    Raises WeightsError when a key has no layer, has another shape, touches the vision tower, or when a layer that the adapter's own
    targets cover has no key.
    """
    if seen := [name for name in adapter.pairs if _visual(name)]:
        raise WeightsError(
            f"adapter {adapter.path} changes the vision tower ({_some(seen)}), which must stay as it is; give another adapter"
        )
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and not _visual(name)}
    modern = any(".language_model." in name for name in adapter.pairs)
    # How the adapter's layout calls today's layers.
    called = {name if modern else name.replace("model.language_model.", "model.", 1): name for name in layers}
    if modern and not any(".language_model." in name for name in called):
        called = {name.replace("model.", "model.language_model.", 1): name for name in layers}
    if lost := adapter.pairs.keys() - called.keys():
        raise WeightsError(f"adapter {adapter.path}: this model has no layer for {_some(lost)}; it was made for another model")
    if idle := {theirs for theirs in called if _covers(adapter.targets, theirs)} - adapter.pairs.keys():
        raise WeightsError(
            f"adapter {adapter.path} lacks layers that it should change: {_some(idle)}; it is incomplete or for another model"
        )
    updates = []
    for theirs, (down, up) in adapter.pairs.items():
        layer = layers[called[theirs]]
        if (up.shape[0], down.shape[1]) != (layer.out_features, layer.in_features):
            raise WeightsError(
                f"adapter {adapter.path}: {theirs} is for a layer of {down.shape[1]} to {up.shape[0]} features, "
                f"this model's has {layer.in_features} to {layer.out_features}; it was made for another model"
            )
        updates.append(Update(called[theirs], layer, down, up))
    return updates


def merge(model: nn.Module, adapter: Adapter) -> list[str]:
    """Add the adapter to the weights, computed in float32; the names of the changed layers."""
    updates = plan(model, adapter)
    with torch.no_grad():
        for update in updates:
            weight = update.layer.weight
            change = update.up.to(weight.device, torch.float32) @ update.down.to(weight.device, torch.float32)
            weight.copy_(weight.float() + adapter.scale * change)
    return [update.name for update in updates]


class Attached:
    """An adapter that runs beside unchanged weights (needed for quantised ones); ``detach`` takes it off again."""

    def __init__(self, model: nn.Module, adapter: Adapter) -> None:
        self.names: list[str] = []
        self._handles = []
        for update in plan(model, adapter):
            self.names.append(update.name)
            self._handles.append(update.layer.register_forward_hook(_Beside(update.down, update.up, adapter.scale)))

    def detach(self) -> None:
        """Leave the model as it was before."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Beside:
    """Forward hook: output + scale * (x A^T) B^T, in the input's precision."""

    def __init__(self, down: Tensor, up: Tensor, scale: float) -> None:
        self._pair, self._scale = (down, up), scale

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        if self._pair[0].device != x.device or self._pair[0].dtype != x.dtype:
            self._pair = (self._pair[0].to(x), self._pair[1].to(x))
        down, up = self._pair
        return output + ((x @ down.T) @ up.T * self._scale).to(output.dtype)


def _visual(name: str) -> bool:
    return "visual" in name.split(".") or "vision_tower" in name.split(".")


def _covers(targets: str | tuple[str, ...], name: str) -> bool:
    """PEFT's rule: a string is a regular expression for the whole name, a list holds names or their endings."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None if targets != "all-linear" else not name.endswith("lm_head")
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _settings(path: Path) -> dict[str, Any]:
    file = path / "adapter_config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"adapter {path}: there is no {file.name}; give the folder that holds it") from None
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise WeightsError(f"adapter {path}: {file.name} is not readable JSON; get it again")
    return settings


def _tensors(path: Path) -> tuple[Path, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = next((path / name for name in ("adapter_model.safetensors", "adapter_model.bin") if (path / name).is_file()), None)
    if file is None:
        raise WeightsError(f"adapter {path}: there is no adapter_model.safetensors; get it again")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else read_pickle(file, "adapter file")
    except (SafetensorError, OSError):
        raise WeightsError(f"adapter file {file} is truncated or something else; get it again") from None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"adapter file {file} holds no named tensors; get it again")
    return file, state


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
