"""Low-rank updates (LoRA): factors, merging in float32, and the official Chain-of-Zoom list format.

A merged weight is always ``checkpoint weight in float32 + sum of updates``, cast once. The checkpoint is read again from its file for
that, so no second copy of the weights is kept, merging never rounds twice, and taking an update out restores the exact bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainzoom.backbones.torch_common import torch
from chainzoom.errors import OptionError, WeightsError
from chainzoom.torch_io import read_pickle

OFFICIAL_RANK = 4
PEFT_DEFAULT_ALPHA = 8
"""PEFT's ``LoraConfig.lora_alpha`` when none is given, as in the OSEDiff family of trainers."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One layer's update: ``delta W = scale * up @ down``.

    Linear: up (out, r), down (r, in). Convolution: up (out, r, 1, 1), down (r, in, kh, kw).
    """

    up: torch.Tensor
    down: torch.Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """r."""
        return int(self.down.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that it updates."""
        return (int(self.up.shape[0]), *map(int, self.down.shape[1:]))

    def fits(self) -> bool:
        """Whether the two factors belong to each other."""
        return (
            self.up.dim() == self.down.dim()
            and self.up.dim() in (2, 4)
            and self.up.shape[1] == self.down.shape[0]
            and self.up[0, 0].numel() == 1
        )

    def delta(self) -> torch.Tensor:
        """The update in float32, in the weight's shape."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (self.scale * product).reshape(self.shape)


Factors = dict[str, Factor]
"""Parameter name (``blocks.0.norm1.linear.weight``) -> update."""


class LowRankUpdates:
    """Named sets of updates on one network; each can be merged, weighted and taken out again."""

    def __init__(self, module: torch.nn.Module, read: Callable[[str], torch.Tensor]) -> None:
        """``read(name)`` gives a parameter as the checkpoint holds it, without updates."""
        self._module = module
        self._shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
        self._read = read
        self._sets: dict[str, Factors] = {}
        self._strength: dict[str, float] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the sets, oldest first."""
        return tuple(self._sets)

    @property
    def merged(self) -> dict[str, float]:
        """Names and strengths of the sets that shape the weights now."""
        return dict(self._strength)

    def factors(self, name: str) -> Factors:
        """The updates of a set."""
        return dict(self._known(name))

    def load(self, name: str, factors: Mapping[str, Factor], source: str | os.PathLike[str]) -> None:
        """Register a set without merging it. A layer that the network lacks, or of another shape, is a WeightsError naming ``source``."""
        if name in self._sets:
            raise OptionError(f"an adapter named {name!r} is loaded already; unload it first or use another name")
        for parameter, factor in factors.items():
            if parameter not in self._shapes:
                raise WeightsError(f"{source} updates {parameter}, which this network lacks; it was made for another model")
            expected = self._shapes[parameter]
            if not factor.fits() or factor.shape != expected:
                raise WeightsError(
                    f"{source}: up {tuple(factor.up.shape)} and down {tuple(factor.down.shape)} do not fit {parameter} {expected}; "
                    "it was made for another model"
                )
        self._sets[name] = dict(factors)

    def merge(self, name: str, strength: float = 1.0) -> None:
        """Add a loaded set to the weights, ``strength`` times; merging again changes the strength."""
        factors = self._known(name)
        self._strength[name] = strength
        self._write(factors)

    def unmerge(self, name: str) -> None:
        """Take a set out of the weights but keep its factors."""
        factors = self._known(name)
        if self._strength.pop(name, None) is not None:
            self._write(factors)

    def unload(self, name: str) -> None:
        """Take a set out of the weights and forget it."""
        self.unmerge(name)
        del self._sets[name]

    def _known(self, name: str) -> Factors:
        if name not in self._sets:
            raise OptionError(f"no adapter named {name!r}; loaded: {', '.join(self._sets) or 'none'}")
        return self._sets[name]

    def _write(self, touched: Mapping[str, Factor]) -> None:
        for parameter in touched:
            weight = self._read(parameter).float()
            for name, strength in self._strength.items():
                if parameter in self._sets[name]:
                    weight = weight + strength * self._sets[name][parameter].delta()
            target = self._module.get_parameter(parameter)
            with torch.no_grad():
                target.copy_(weight.to(target.dtype))


def adaln_parameters(transformer: torch.nn.Module) -> list[str]:
    """Weights of the Linear layers inside ``AdaLayerNormZero`` modules, in module order: 47 in Stable Diffusion 3 medium."""
    return [
        f"{outer}.{inner}.weight"
        for outer, norm in transformer.named_modules()
        if type(norm).__name__ == "AdaLayerNormZero"
        for inner, layer in norm.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]


def read_official(path: str | os.PathLike[str], transformer: torch.nn.Module, rank: int = OFFICIAL_RANK) -> Factors:
    """The authors' ``model_*.pkl``: a flat list up, down, up, down, ... over ``adaln_parameters``; scale 1.

    Raises WeightsError for another container, length, rank or shape.
    """
    content = read_pickle(path, "LoRA file")
    if not isinstance(content, list | tuple) or not all(torch.is_tensor(tensor) for tensor in content):
        raise WeightsError(
            f"LoRA file {path} should hold a list of tensors (up, down, ...) but holds {type(content).__name__}; give the official one"
        )
    names = adaln_parameters(transformer)
    if len(content) != 2 * len(names):
        raise WeightsError(
            f"LoRA file {path} holds {len(content)} tensors; this model has {len(names)} AdaLayerNormZero layers "
            f"and needs {2 * len(names)}; it was made for another model"
        )
    shapes = {name: tuple(parameter.shape) for name, parameter in transformer.named_parameters()}
    factors: Factors = {}
    for name, up, down in zip(names, content[::2], content[1::2], strict=True):
        out, inner = shapes[name]
        if tuple(up.shape) != (out, rank) or tuple(down.shape) != (rank, inner):
            raise WeightsError(
                f"LoRA file {path}: expected up {(out, rank)} and down {(rank, inner)} for {name} (rank {rank}), "
                f"got {tuple(up.shape)} and {tuple(down.shape)}; give the file made for this model, or its rank (lora_rank)"
            )
        factors[name] = Factor(up.float().contiguous(), down.float().contiguous())
    return factors


def write_official(path: str | os.PathLike[str], factors: Mapping[str, Factor], transformer: torch.nn.Module) -> None:
    """Write a set back as the authors' flat list, float32; a scale other than 1 goes into the up factors."""
    names = adaln_parameters(transformer)
    if set(names) != set(factors):
        raise OptionError("only a set over all AdaLayerNormZero layers, and no others, can be written in the official format")
    pairs = [(factors[name].up.float() * factors[name].scale, factors[name].down.float()) for name in names]
    _save([tensor.detach().cpu().contiguous() for pair in pairs for tensor in pair], path)


def merge_wrapped_state(state: Mapping[str, torch.Tensor], alpha: float, source: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """A state dict with PEFT-wrapped names as a plain one in float32, its LoRA merged with scale ``alpha / rank``.

    ``X.base_layer.weight``, ``X.lora_A.NAME.weight`` and ``X.lora_B.NAME.weight`` become ``X.weight``; other names stay.
    """
    plain = {name.replace(".base_layer.", "."): tensor.float() for name, tensor in state.items() if ".lora_" not in name}
    for name, factor in wrapped_factors(state, alpha, source).items():
        if name not in plain or tuple(plain[name].shape) != factor.shape:
            raise WeightsError(f"{source}: the update of {name} has no weight of shape {factor.shape} to go with; the file is incomplete")
        plain[name] = plain[name] + factor.delta()
    return plain


def wrapped_factors(state: Mapping[str, torch.Tensor], alpha: float, source: str | os.PathLike[str]) -> Factors:
    """The updates among PEFT-wrapped names, by plain parameter name. A half pair is a WeightsError."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        for half in ("lora_A", "lora_B"):
            layer, found, _ = name.partition(f".{half}.")
            if found:
                halves.setdefault(f"{layer}.weight", {})[half] = tensor
    factors: Factors = {}
    for name, pair in halves.items():
        if len(pair) != 2:
            raise WeightsError(f"{source}: {name} has only {next(iter(pair))}; the file is incomplete")
        factor = Factor(pair["lora_B"].float(), pair["lora_A"].float(), alpha / int(pair["lora_A"].shape[0]))
        if not factor.fits():
            raise WeightsError(f"{source}: the two LoRA factors of {name} do not belong together; the file is damaged")
        factors[name] = factor
    return factors


def _save(content: Sequence[torch.Tensor], path: str | os.PathLike[str]) -> None:
    target = Path(path)
    scratch = target.with_name(target.name + ".part")
    try:
        torch.save(list(content), scratch)
        scratch.replace(target)
    except (OSError, RuntimeError) as error:
        scratch.unlink(missing_ok=True)
        raise OptionError(f"cannot write {target}: {error}") from error
