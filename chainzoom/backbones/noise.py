"""Noise that belongs to places, not to calls: two windows that overlap draw the same numbers where they overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.base import Backbone
from chainzoom.images import Image
from chainzoom.seeds import derive

_BLOCK = 32


@dataclass(frozen=True, slots=True)
class NoiseField:
    """Standard normal noise over a whole level, made on demand in blocks from (seed, place).

    seed   of the whole zoom or pyramid: what belongs to places at several scales goes by it alone
    scale  pixels of the level that is made for a photo pixel; every level has noise of its own
    """

    seed: int
    scale: float = 4.0

    def read(self, x0: int, y0: int, x1: int, y1: int, channels: int) -> NDArray[np.float32]:
        """(y1 - y0, x1 - x0, channels) float32; coordinates are whole numbers of any unit that the reader sticks to."""
        out = np.empty((y1 - y0, x1 - x0, channels), np.float32)
        for by in range(y0 // _BLOCK, -(-y1 // _BLOCK)):
            for bx in range(x0 // _BLOCK, -(-x1 // _BLOCK)):
                left, top = max(x0, bx * _BLOCK), max(y0, by * _BLOCK)
                right, bottom = min(x1, (bx + 1) * _BLOCK), min(y1, (by + 1) * _BLOCK)
                part = self._block(bx, by, channels)[top - by * _BLOCK : bottom - by * _BLOCK, left - bx * _BLOCK : right - bx * _BLOCK]
                out[top - y0 : bottom - y0, left - x0 : right - x0] = part
        return out

    def _block(self, bx: int, by: int, channels: int) -> NDArray[np.float32]:
        generator = np.random.Generator(np.random.Philox(derive(self.seed, round(256 * math.log2(self.scale)), bx, by)))
        return generator.standard_normal((_BLOCK, _BLOCK, channels), dtype=np.float32)


@runtime_checkable
class FieldBackbone(Protocol):
    """A stochastic backbone that takes its noise from a field, so that neighbouring windows invent the same detail where they meet.

    Others get a seed for each window, and their windows agree only as far as the cross-fade makes them.
    """

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        """As ``upscale``; ``origin`` is where the picture's top-left (x, y) lies on its level, in pixels of ``image`` before enlargement.

        A latent model reads the field in latent coordinates: origins are multiples of ``Tiling.halo`` except at the far ends of a level.
        """
        ...


class PlacedBackbone:
    """A field backbone at one place, as the plain protocol."""

    def __init__(self, backbone: FieldBackbone, noise: NoiseField, origin: tuple[int, int]) -> None:
        self._backbone, self._noise, self._origin = backbone, noise, origin
        self.facts = cast(Backbone, backbone).facts

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """See Backbone; the seed is not used."""
        return self._backbone.upscale_at(image, prompt, noise=self._noise, origin=self._origin)
