"""Surfaces to borrow detail from: a shelf of small real textures, found by words, and an endless field grown from one of them.

By-example noise (after Heitz and Neyret, "High-performance by-example noise", 2018): a lattice of patches covers the plane, each from a
random place of the exemplar; neighbours are blended so that the variance stays. Any part of the field can be made alone, by coordinates.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import WeightsError
from chainzoom.seeds import derive

INDEX = "index.json"
SIDE = 256
"""Height and width of an exemplar in pixels."""
_LATTICE = 64
"""Distance of the lattice's points; a patch reaches twice as far."""
_SHARPNESS = 3.0
_CANDIDATES, _TEMPERATURE = 6, 0.1

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Exemplars:
    """names (n), materials (n), words (n, 384) of unit length, textures (n, 256, 256): lightness without its slow part, 1 = full range."""

    names: tuple[str, ...]
    materials: tuple[tuple[str, ...], ...]
    words: Array
    textures: Array

    @classmethod
    def read(cls, path: Path) -> Exemplars:
        """Raises WeightsError for a missing or broken file."""
        try:
            with zipfile.ZipFile(path) as archive:
                rows = json.loads(archive.read(INDEX))
                textures = [_decoded(archive.read(row["file"])) * np.float32(row["unit"]) for row in rows]
            words = np.array([row["words"] for row in rows], np.float32)
            names, materials = tuple(row["name"] for row in rows), tuple(tuple(row["materials"]) for row in rows)
            return cls(names, materials, words / np.linalg.norm(words, axis=1, keepdims=True), np.stack(textures))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{path} is no shelf of exemplars ({error!r}); reinstall chainzoom or make it anew") from None

    def nearest(self, embedding: Array) -> int:
        """The surface whose words are nearest to the (384,) embedding: always the same one, so that grain runs one way through a zoom."""
        return int(np.argmax(self.words @ embedding))

    def pick(self, embedding: Array, seed: int) -> int:
        """One of the nearest surfaces, drawn from the seed, nearer ones more often; for training."""
        near = self.words @ embedding
        best = np.argsort(-near, kind="stable")[:_CANDIDATES]
        chance = np.exp((near[best] - near[best[0]]) / _TEMPERATURE)
        return int(np.random.Generator(np.random.Philox(seed)).choice(best, p=chance / chance.sum()))

    def field(self, number: int, seed: int, box: tuple[int, int, int, int]) -> Array:
        """Pixels (y1 - y0, x1 - x0) of the endless field of an exemplar; ``box`` = (x0, y0, x1, y1) in whole pixels of the field."""
        x0, y0, x1, y1 = box
        texture = _turned(self.textures[number], seed)
        total = np.zeros((y1 - y0, x1 - x0), np.float32)
        power = np.zeros_like(total)
        for row in range(y0 // _LATTICE, -(-y1 // _LATTICE) + 1):
            for column in range(x0 // _LATTICE, -(-x1 // _LATTICE) + 1):
                left, top = (column - 1) * _LATTICE, (row - 1) * _LATTICE
                a, b, c, d = max(x0, left), max(y0, top), min(x1, left + 2 * _LATTICE), min(y1, top + 2 * _LATTICE)
                if a >= c or b >= d:
                    continue
                u, v = np.random.Generator(np.random.Philox(derive(seed, row, column))).integers(SIDE - 2 * _LATTICE + 1, size=2)
                weight = _FADE[b - top : d - top, None] * _FADE[None, a - left : c - left]
                place = (slice(b - y0, d - y0), slice(a - x0, c - x0))
                total[place] += weight * texture[v + b - top : v + d - top, u + a - left : u + c - left]
                power[place] += weight**2
        return np.asarray(total / np.sqrt(power), np.float32)


def _fade() -> Array:
    """Weights of a patch along one axis: 1 in the middle, 0 at its ends, steep between, and those of neighbours never both small."""
    at = (np.arange(2 * _LATTICE) + 0.5) / _LATTICE
    rise = 1 - np.abs(at - 1)
    powers = rise**_SHARPNESS
    return np.asarray(powers / (powers + (1 - rise) ** _SHARPNESS), np.float32)


_FADE = _fade()


def _turned(texture: Array, seed: int) -> Array:
    """Mirrored along one axis, the other, both or none, the same over a whole field; grain keeps its direction."""
    turn = derive(seed, "orientation") % 4
    texture = texture[::-1] if turn & 1 else texture
    return np.ascontiguousarray(texture[:, ::-1] if turn & 2 else texture)


def _decoded(content: bytes) -> Array:
    with PILImage.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("L"), np.float32)
    if pixels.shape != (SIDE, SIDE):
        raise ValueError(f"an exemplar has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {SIDE} x {SIDE}")
    return np.asarray((pixels - 128) / 127, np.float32)
