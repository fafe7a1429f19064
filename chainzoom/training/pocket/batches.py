"""What a training step sees: inputs as the chain will give them, and a real picture to compare each result with.

pure     a real crop shrunk 4x; the real crop itself is the comparison
soft     an input with less detail than its size holds (blurred up to 8x, or another picture's colours): the comparison is that same smooth
         field with the fine band of a real crop laid over it, so that only the band that can be made is judged
chained  a part of what the generator made before, for words said then: the comparison is any real crop of these words
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from chainzoom.backbones.exemplars import Exemplars
from chainzoom.training.pocket.pictures import Library
from chainzoom.training.pocket.projection import band, shrink, spread

_CHANGED = 0.2
"""Share of chained inputs whose exemplar is another one than at the step before."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """(B, 3, h, w) inputs, (B, 3, 4h, 4w) comparisons; for each its sentence's, picture's and exemplar's number (-1: not chosen),
    creativity, depth in the chain, and whether it is pure.
    """

    image: torch.Tensor
    real: torch.Tensor
    sentence: NDArray[np.int64]
    number: NDArray[np.int64]
    creativity: torch.Tensor
    depth: NDArray[np.int64]
    exemplar: NDArray[np.int64]
    pure: torch.Tensor
    paired: torch.Tensor


def draw_fields(
    shelf: Exemplars | None, words: NDArray[np.float32], rng: np.random.Generator, side: int, known: NDArray[np.int64]
) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """(B, side, side): for each sentence a random part of the field of an exemplar, and the exemplars' numbers.

    ``known`` are numbers from the step before (-1: none), mostly kept, as the backbone does; else the words bring one up.
    """
    fields, numbers = np.zeros((len(words), side, side), np.float32), known.copy()
    for k, said in enumerate(words if shelf else ()):
        seed, x, y = (int(value) for value in rng.integers(1 << 20, size=3))
        assert shelf is not None
        if not 0 <= known[k] < len(shelf.names) or rng.random() < _CHANGED:
            numbers[k] = shelf.pick(said, seed)
        fields[k] = shelf.field(int(numbers[k]), seed, (x, y, x + side, y + side))
    return torch.from_numpy(fields), numbers


class Made:
    """The newest pictures that the generator made, to be zoomed into again."""

    def __init__(self, capacity: int = 256, deepest: int = 5) -> None:
        self.capacity, self.deepest = capacity, deepest
        self.pictures: list[torch.Tensor] = []
        self.notes: list[tuple[int, int, int, int]] = []

    def add(self, pictures: torch.Tensor, batch: Batch, exemplars: NDArray[np.int64]) -> None:
        """Keep what was made of a batch; the oldest go. The deepest are not zoomed into further."""
        for k in range(len(pictures)):
            if batch.depth[k] < self.deepest:
                self.pictures.append((pictures[k].clamp(0, 1) * 255).round().to(torch.uint8))
                self.notes.append((int(batch.sentence[k]), int(batch.number[k]), int(batch.depth[k]) + 1, int(exemplars[k])))
        del self.pictures[: -self.capacity], self.notes[: -self.capacity]

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"pictures": list(self.pictures), "notes": [list(note) for note in self.notes]}

    def load_state_dict(self, state: dict[str, list[torch.Tensor] | list[list[int]]]) -> None:
        """Put back what ``state_dict`` gave."""
        self.pictures = [picture for picture in state["pictures"] if isinstance(picture, torch.Tensor)]
        self.notes = [(note[0], note[1], note[2], note[3] if len(note) > 3 else -1) for note in state["notes"] if isinstance(note, list)]


def make_batch(
    library: Library, made: Made, rng: np.random.Generator, size: int, side: int, shares: tuple[float, float, float], faithful: float
) -> Batch:
    """A batch of ``size`` inputs of ``side`` pixels; ``shares`` of pure, soft and chained; ``faithful``: share of pure below 1."""
    chained = round(size * shares[2]) if len(made.pictures) >= 4 * size else 0
    pure = round((size - chained) * shares[0] / (shares[0] + shares[1]))
    numbers = np.array([library.draw(rng) for _ in range(size)])
    texts = np.array([library.say(number, rng) for number in numbers])
    real = torch.from_numpy(np.stack([library.crop(number, 4 * side, rng) for number in numbers])).permute(0, 3, 1, 2).float() / 255
    depth, exemplar = np.zeros(size, np.int64), np.full(size, -1)
    low = shrink(real)
    bands = band(real)
    creativity = torch.ones(size)
    for k in range(size):
        if k < pure:
            if rng.random() < faithful:
                creativity[k] = float(rng.random())
        elif k < size - chained:
            low[k], bands[k] = _soft(low, bands, k, rng)
            real[k] = (spread(low[k : k + 1]) + bands[k : k + 1])[0].clamp(0, 1)
        else:
            pick = int(rng.integers(len(made.pictures)))
            texts[k], numbers[k], depth[k], exemplar[k] = made.notes[pick]
            low[k] = _part(made.pictures[pick], side, rng)
            crop = library.crop(int(numbers[k]), 4 * side, rng)
            real[k] = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
    flags = torch.arange(size)
    return Batch(low, real, texts, numbers, creativity, depth, exemplar, flags < pure, flags < size - chained)


def _part(picture: torch.Tensor, side: int, rng: np.random.Generator) -> torch.Tensor:
    y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[-2:])
    return picture[:, y : y + side, x : x + side].float() / 255


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
