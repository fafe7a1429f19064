"""What a training step sees: inputs as the chain will give them, and a real picture to compare each result with.

pure     a real crop shrunk 4x; the real crop itself is the comparison
soft     an input with less detail than its size holds (blurred up to 8x, or another picture's colours): the comparison is that same smooth
         field with the fine band of a real crop laid over it, so that only the band that can be made is judged
chained  a part of what the generator made before, for words said then: the comparison is any real crop of these words
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from chainzoom.backbones.exemplars import Exemplars
from chainzoom.training.pocket.pictures import Library
from chainzoom.training.pocket.projection import band, shrink, spread

_EVIDENCE = 4.0
"""The scale at which pure inputs are met: pixels still tell, no surface is borrowed."""
_STARTS = (16.0, 16.0, 64.0, 256.0)
"""Scales at which a smooth field is met first."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A part of a zoom: the exemplar (-1: to be chosen), the zoom's seed, scale (pixels made for a photo pixel), top-left corner."""

    exemplar: int
    seed: int
    scale: float
    x: int
    y: int

    def inside(self, x: int, y: int) -> Sighting:
        """Four times deeper, from pixel (x, y) of this part on."""
        return replace(self, scale=4 * self.scale, x=4 * (self.x + x), y=4 * (self.y + y))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """(B, 3, h, w) inputs, (B, 3, 4h, 4w) comparisons; for each its sentence's and picture's number, creativity, depth in the chain, which
    field it gets where, and whether it is pure or compared with itself.
    """

    image: torch.Tensor
    real: torch.Tensor
    sentence: NDArray[np.int64]
    number: NDArray[np.int64]
    creativity: torch.Tensor
    depth: NDArray[np.int64]
    sights: tuple[Sighting, ...]
    pure: torch.Tensor
    paired: torch.Tensor


def draw_fields(
    shelf: Exemplars | None, words: NDArray[np.float32], side: int, sights: Sequence[Sighting]
) -> tuple[torch.Tensor, tuple[Sighting, ...]]:
    """(B, side, side): what each sighting meets; and the sightings with exemplars, which (B, 384) words bring up where none is set."""
    fields, found = np.zeros((len(sights), side, side), np.float32), list(sights)
    for k, sight in enumerate(sights if shelf else ()):
        assert shelf is not None
        if not 0 <= sight.exemplar < len(shelf.names):
            sight = found[k] = replace(sight, exemplar=shelf.pick(words[k], sight.seed))
        fields[k] = shelf.seen(sight.exemplar, sight.seed, (sight.x, sight.y, sight.x + side, sight.y + side), sight.scale)
    return torch.from_numpy(fields), tuple(found)


class Made:
    """The newest pictures that the generator made, to be zoomed into again."""

    def __init__(self, capacity: int = 256, deepest: int = 5) -> None:
        self.capacity, self.deepest = capacity, deepest
        self.pictures: list[torch.Tensor] = []
        self.notes: list[tuple[int, int, int, Sighting]] = []

    def add(self, pictures: torch.Tensor, batch: Batch, sights: Sequence[Sighting]) -> None:
        """Keep what was made of a batch; the oldest go. The deepest are not zoomed into further."""
        for k in range(len(pictures)):
            if batch.depth[k] < self.deepest:
                self.pictures.append((pictures[k].clamp(0, 1) * 255).round().to(torch.uint8))
                self.notes.append((int(batch.sentence[k]), int(batch.number[k]), int(batch.depth[k]) + 1, sights[k]))
        del self.pictures[: -self.capacity], self.notes[: -self.capacity]

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"pictures": list(self.pictures), "notes": [[*note[:3], *astuple(note[3])] for note in self.notes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        self.pictures = list(state["pictures"])
        self.notes = [(note[0], note[1], note[2], Sighting(*note[3:])) for note in state["notes"]]


def make_batch(
    library: Library, made: Made, rng: np.random.Generator, size: int, side: int, shares: tuple[float, float, float], faithful: float
) -> Batch:
    """A batch of ``size`` inputs of ``side`` pixels; ``shares`` of pure, soft and chained; ``faithful``: share of pure below 1."""
    chained = round(size * shares[2]) if len(made.pictures) >= 4 * size else 0
    pure = round((size - chained) * shares[0] / (shares[0] + shares[1]))
    numbers = np.array([library.draw(rng) for _ in range(size)])
    texts = np.array([library.say(number, rng) for number in numbers])
    real = torch.from_numpy(np.stack([library.crop(number, 4 * side, rng) for number in numbers])).permute(0, 3, 1, 2).float() / 255
    depth = np.zeros(size, np.int64)
    sights: list[Sighting] = []
    low = shrink(real)
    bands = band(real)
    creativity = torch.ones(size)
    for k in range(size):
        seed, x, y = (int(value) for value in rng.integers(1 << 20, size=3))
        if k < pure:
            sights.append(Sighting(-1, seed, _EVIDENCE, 16 * x, 16 * y))
            if rng.random() < faithful:
                creativity[k] = float(rng.random())
        elif k < size - chained:
            sights.append(Sighting(-1, seed, float(rng.choice(_STARTS)), 16 * x, 16 * y))
            low[k], bands[k] = _soft(low, bands, k, rng)
            real[k] = (spread(low[k : k + 1]) + bands[k : k + 1])[0].clamp(0, 1)
        else:
            pick = int(rng.integers(len(made.pictures)))
            texts[k], numbers[k], depth[k], sight = made.notes[pick]
            top, left = (int(rng.integers(length - side + 1)) for length in made.pictures[pick].shape[-2:])
            sights.append(sight.inside(left, top))
            low[k] = made.pictures[pick][:, top : top + side, left : left + side].float() / 255
            crop = library.crop(int(numbers[k]), 4 * side, rng)
            real[k] = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
    flags = torch.arange(size)
    return Batch(low, real, texts, numbers, creativity, depth, tuple(sights), flags < pure, flags < size - chained)


def _soft(low: torch.Tensor, bands: torch.Tensor, k: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth field and the band to lay over it: of the same picture, or over another picture's colours."""
    if rng.random() < 0.5:
        return blur(low[k], float(2 ** rng.uniform(0, 3))), bands[k]
    other = low[int(rng.integers(len(low)))]
    base = blur(other, float(2 ** rng.uniform(1.5, 3.5)))
    if rng.random() < 0.3:  # almost plain
        base = base.mean((1, 2), keepdim=True) + 0.2 * (base - base.mean((1, 2), keepdim=True))
    # Another picture's colours are in the light: the band keeps its lightness and little of its own hue.
    grey = bands[k].mean(0, keepdim=True)
    tint = base.mean((1, 2), keepdim=True) / base.mean().clamp_min(0.05)
    return base, grey * tint * 0.8 + 0.2 * bands[k]


def blur(image: torch.Tensor, factor: float) -> torch.Tensor:
    """(3, h, w) with the detail of a picture ``factor`` times smaller."""
    if factor < 1.05:
        return image
    height, width = image.shape[-2:]
    small = [max(2, round(length / factor)) for length in (height, width)]
    down = functional.interpolate(image[None], small, mode="bicubic", antialias=True, align_corners=False)
    return functional.interpolate(down, (height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)
