"""What a run of ``chainzoom train prompts`` is made of: a TOML file, checked before anything is loaded.

Defaults are the paper's where it gives them (LoRA, generations, steps, weights of the rewards, validation share); it gives no learning
rate, KL weight or temperature, so those are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chainzoom.errors import OptionError
from chainzoom.training import tables


@dataclass(frozen=True, slots=True)
class Model:
    """The vision-language model to be trained, as the ``vlm`` prompter loads it: ``path`` is a folder or a hub name."""

    path: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter on every linear layer of the language half; the vision tower stays as it is."""

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.05


@dataclass(frozen=True, slots=True)
class Data:
    """Where (previous state, crop) pairs come from.

    photos            folders (searched through) or files
    states            ``photo``: real pixels, at a random depth down to 1x; ``chain``: the states of zooms that ``preset`` makes
    preset            of ``chain``: a preset's name or file
    zooms, to         of ``chain``: how many zooms to make, and how deep they go
    size              largest side of a state
    cache             of ``chain``: folder for the states; empty: ``pairs`` in the run's folder
    validation        share of the photos that are kept for validation; of few photos up to a tenth, and at least one of two
    validation_pairs  how many pairs of those photos are looked at
    """

    photos: tuple[str, ...]
    states: Literal["photo", "chain"] = "photo"
    preset: str = "default"
    zooms: int = 200
    to: float = 256.0
    size: int = 512
    cache: str = ""
    validation: float = 0.01
    validation_pairs: int = 8


@dataclass(frozen=True, slots=True)
class Generation:
    """How answers are drawn.

    per_prompt      answers to each pair; their rewards are compared with each other
    backend         ``transformers``, or ``vllm`` (to be installed beside)
    vllm_mode       ``colocate``: in this process; ``server``: at ``vllm_url`` (``trl vllm-serve``)
    vllm_memory     of ``colocate``: share of the GPU's memory
    """

    per_prompt: int = 2
    max_new_tokens: int = 32
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    backend: Literal["transformers", "vllm"] = "transformers"
    vllm_mode: Literal["colocate", "server"] = "colocate"
    vllm_url: str = ""
    vllm_memory: float = 0.3


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How the adapter learns.

    pairs          pairs a step and process; ``accumulate`` splits them into so many passes, for memory
    kl             weight of the distance from the untrained model (TRL's ``beta``)
    clip           PPO's clipping range
    loss           ``grpo`` (the paper's) or another of TRL's forms
    bits           8: bitsandbytes AdamW
    """

    learning_rate: float = 1e-5
    pairs: int = 4
    accumulate: int = 1
    kl: float = 0.04
    clip: float = 0.2
    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = "grpo"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = True
    bits: int = 32


@dataclass(frozen=True, slots=True)
class Config:
    """A run.

    out              its folder
    rewards          a table a reward: ``critic``, ``phrase``, ``repetition``, or any name with ``function``; see docs/training-prompts.md
    max_abstentions  share of unusable answers of a reward, over its last 200, above which the run stops
    wandb            arguments of ``wandb.init``; empty: off
    """

    out: str
    model: Model
    data: Data
    rewards: dict[str, dict[str, Any]]
    lora: Lora = Lora()
    generation: Generation = Generation()
    optimiser: Optimiser = Optimiser()
    steps: int = 10_000
    seed: int = 0
    save_every: int = 500
    keep: int = 3
    validate_every: int = 500
    max_abstentions: float = 0.5
    wandb: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _at_least(1, steps=self.steps, save_every=self.save_every, keep=self.keep, validate_every=self.validate_every)
        _at_least(1, **{"lora.rank": self.lora.rank, "lora.alpha": self.lora.alpha})
        _at_least(2, **{"generation.per_prompt": self.generation.per_prompt})
        _at_least(1, **{"generation.max_new_tokens": self.generation.max_new_tokens})
        optimiser = self.optimiser
        _at_least(1, **{"optimiser.pairs": optimiser.pairs, "optimiser.accumulate": optimiser.accumulate})
        _at_least(0, **{"optimiser.kl": optimiser.kl, "optimiser.warmup": optimiser.warmup, "generation.top_k": self.generation.top_k})
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if optimiser.pairs * self.generation.per_prompt % optimiser.accumulate:
            raise OptionError(
                f"optimiser.accumulate = {optimiser.accumulate} must divide the answers of a step, "
                f"optimiser.pairs x generation.per_prompt = {optimiser.pairs * self.generation.per_prompt}"
            )
        if not optimiser.learning_rate > 0 or not self.generation.temperature > 0:
            raise OptionError("optimiser.learning_rate and generation.temperature must be above 0")
        if optimiser.bits not in (8, 32):
            raise OptionError(f"optimiser.bits must be 8 or 32, not {optimiser.bits}")
        if not 0 <= self.lora.dropout < 1 or not 0 < self.generation.top_p <= 1 or not 0 <= self.data.validation < 1:
            raise OptionError("lora.dropout and data.validation must be from 0 to below 1, generation.top_p above 0 to 1")
        if self.generation.backend == "vllm" and self.generation.vllm_mode == "server" and not self.generation.vllm_url:
            raise OptionError("generation.vllm_mode = 'server' needs generation.vllm_url")
        _at_least(1, **{"data.zooms": self.data.zooms, "data.validation_pairs": self.data.validation_pairs})
        if not self.data.photos:
            raise OptionError('no pictures: give [data] photos = ["FOLDER"]')
        if not self.rewards:
            raise OptionError("no rewards: give at least one table [rewards.NAME]; see docs/training-prompts.md")

    def essence(self) -> dict[str, Any]:
        """What decides the losses, flat and without places: a checkpoint can be resumed only when this agrees."""
        tree = asdict(self)
        for free in ("out", "steps", "save_every", "keep", "validate_every", "wandb", "max_abstentions"):
            tree.pop(free)
        for free in ("device", "path"):
            tree["model"].pop(free)
        for free in ("photos", "cache"):
            tree["data"].pop(free)
        tree["model"]["name"] = Path(self.model.path).name
        for reward in tree["rewards"].values():
            for free in ("url", "device", "timeout", "retries", "concurrency", "key_env"):
                reward.pop(free, None)
        return {".".join(keys): value for keys, value in _leaves(tree)}


def load_config(path: Path) -> tuple[Config, str]:
    """Read and check a configuration file; the configuration and the file's text. Raises OptionError naming file and key."""
    try:
        text = path.read_text(encoding="utf-8")
        return tables.parse(Config, text), text
    except OSError as error:
        raise OptionError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionError(f"cannot read the configuration {path}: it is not UTF-8 text") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise OptionError(f"{name} must be at least {least}, not {value:g}")


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*keys, str(key)))]
    return [(keys, list(value) if isinstance(value, tuple) else value)]
