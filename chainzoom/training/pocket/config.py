"""The configuration of a pocket training run: a TOML file, every key known and of the right type."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chainzoom.errors import OptionError
from chainzoom.training.pocket.generator import Shape
from chainzoom.training.tables import parse


@dataclass(frozen=True, slots=True)
class Network:
    """The generator's size (see ``generator.Shape``) and the critics' width."""

    widths: tuple[int, ...] = (64, 48, 32)
    blocks: tuple[int, ...] = (6, 2, 1)
    noise: tuple[int, ...] = (8, 4, 2)
    code: int = 128
    critic: int = 32

    def shape(self) -> Shape:
        """As the generator takes it. Raises OptionError when a list has not three numbers."""
        for name in ("widths", "blocks", "noise"):
            if len(getattr(self, name)) != 3 or min(getattr(self, name)) < 1:
                raise OptionError(f"network.{name} takes three whole numbers from 1 on: at 1x, 2x and 4x; got {list(getattr(self, name))}")
        (a, b, c), (d, e, f), (g, h, i) = self.widths, self.blocks, self.noise
        return Shape((a, b, c), (d, e, f), (g, h, i), code=self.code)


@dataclass(frozen=True, slots=True)
class Data:
    """What is shown.

    folder    prepared by ``chainzoom train pocket-data``
    exemplars the shelf that detail is borrowed from (``shelf.build``); empty: none, noise alone
    features  folder with the archive that holds AlexNet, the critics' frozen eyes (docs/pocket.md)
    side      inputs are so many pixels square
    photos    share of photos among the draws
    shares    of pure, soft and chained inputs (``batches``)
    emphasis  materials to be drawn so many times more often
    coats     drawn furs besides the folder's pictures
    faithful  share of the pure inputs that are shown with a creativity below 1
    """

    folder: str = ""
    exemplars: str = ""
    features: str = ""
    side: int = 24
    photos: float = 0.25
    shares: tuple[float, ...] = (0.35, 0.25, 0.4)
    faithful: float = 0.25
    limit: int = 0
    coats: bool = True
    emphasis: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loss:
    """Weights of the terms: the two critics; of pure pairs texture statistics, strength of fine detail in lightness and colour, and pixels,
    ``pixels`` at full creativity and ``faithful`` at none; of the others how far they strayed from the surface lent.
    """

    pixel_critic: float = 0.03
    feature_critic: float = 0.03
    style: float = 0.05
    contrast: float = 0.1
    pixels: float = 0.5
    faithful: float = 4.0
    strayed: float = 8.0


@dataclass(frozen=True, slots=True)
class Config:
    """A run. ``mixed``: bfloat16 where it is safe. ``ema``: of the weights that are exported. Times in steps."""

    out: str
    steps: int = 20000
    seed: int = 0
    batch: int = 16
    lr: float = 2e-4
    critic_lr: float = 4e-4
    ema: float = 0.998
    decay_from: int = 0
    mixed: bool = True
    threads: int = 0
    device: str = "cpu"
    save_every: int = 250
    log_every: int = 25
    picture_every: int = 250
    keep: int = 2
    network: Network = field(default=Network())
    data: Data = field(default=Data())
    loss: Loss = field(default=Loss())

    def essence(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its continuation; rates, weights and shares may, as stages of a recipe do."""
        return {"network": str(asdict(self.network)), "seed": self.seed}


def load_config(path: Path) -> tuple[Config, str]:
    """Read and check a file. Returns the configuration and its text. Raises OptionError naming the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot read the configuration {path}: {error}") from None
    try:
        config = parse(Config, text)
        config.network.shape()
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None
    if len(config.data.shares) != 3 or min(config.data.shares) < 0 or sum(config.data.shares[:2]) <= 0:
        raise OptionError(f"{path}: data.shares takes three shares (pure, soft, chained), not all zero; got {list(config.data.shares)}")
    for name in ("folder", "features"):
        if not getattr(config.data, name):
            raise OptionError(f"{path}: data.{name} is missing; it names a folder")
    return config, text
