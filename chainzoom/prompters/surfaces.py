"""Which materials a picture's surface shows: a linear head on middle layers of the classifier, which has looked already.

Means and spreads of a layer's channels over a place say what texture is there and nothing of where its parts are (Cimpoi et al., "Deep
filter banks for texture recognition", arXiv 1411.6836, use moments of a layer in the same way). ``chainzoom train surfaces`` fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import WeightsError
from chainzoom.prompters.classifier import Box, Maps, part
from chainzoom.version import __version__
from chainzoom.weights import Weights, sha256_of

FILE = Path(__file__).with_name("surfaces.safetensors")
NAMES, KERNEL, BIAS, CENTRE, SPREAD = "materials", "kernel", "bias", "centre", "spread"
"""Metadata and tensors of the file: names joined by ", ", (materials + 1, features) float16, then float32 vectors."""
REACH = 3.0
"""Standard deviations at which a feature is cut off, so that what was never seen in training cannot be more certain than what was."""


def features(middle: Maps, box: Box | None = None) -> NDArray[np.float32]:
    """Means and standard deviations of the channels of each map over a part of the picture: (928,) float32."""
    places = [part(plane, box) for plane in middle]
    return np.concatenate([moment for place in places for moment in (place.mean(axis=1), place.std(axis=1))]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One score a material and, last, one for "none of these": ``kernel`` (materials + 1, features), ``bias`` (materials + 1,).

    ``centre`` and ``spread`` (features,) are those of the pictures it was trained on.
    """

    materials: tuple[str, ...]
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]

    def logits(self, found: NDArray[np.float32]) -> NDArray[np.float64]:
        """(..., features) -> (..., materials + 1)."""
        x = np.clip((found - self.centre) / self.spread, -REACH, REACH)
        return np.asarray(x.astype(np.float64) @ self.kernel.T.astype(np.float64) + self.bias)

    def probabilities(self, found: NDArray[np.float32]) -> NDArray[np.float64]:
        """(..., features) -> (..., materials), in [0, 1]; what they lack to 1 is the probability of none of these."""
        logits = self.logits(found)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray((powers / powers.sum(axis=-1, keepdims=True))[..., :-1])


class Surfaces:
    """The head in a file, by default the one that comes with the package. It is read on first use."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file

    @property
    def weights(self) -> Weights:
        """Name, version, hash and licence of the file; raises WeightsError when it is not there."""
        if not self._file.is_file():
            raise WeightsError(f"{self._file} is missing; expected the surface tagger's weights, reinstall chainzoom")
        return Weights("chainzoom-surfaces", __version__, sha256_of(self._file), "CC-BY-SA-4.0")

    @cached_property
    def head(self) -> Head:
        """Raises WeightsError when the file is no such head."""
        return read_head(self._file)

    def scores(self, middle: Maps, box: Box | None = None, least: float = 0.01) -> dict[str, float]:
        """Material -> probability that it is seen (in a part of) the picture; those below ``least`` are left out."""
        found = self.head.probabilities(features(middle, box))
        return {name: float(p) for name, p in zip(self.head.materials, found, strict=True) if p >= least}


def read_head(file: Path) -> Head:
    """A head from a safetensors file. Raises WeightsError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            names = tuple((tensors.metadata() or {})[NAMES].split(", "))
            parts = [np.asarray(tensors.get_tensor(name), dtype=np.float32) for name in (KERNEL, BIAS, CENTRE, SPREAD)]
    except (OSError, KeyError, SafetensorError) as error:
        raise WeightsError(f"{file} is no surface tagger ({error}); expected what chainzoom train surfaces writes") from None
    shapes = tuple(part.shape for part in parts)
    count = len(names) + 1
    if parts[0].ndim != 2 or shapes != ((count, shapes[0][1]), (count,), shapes[0][1:], shapes[0][1:]):
        raise WeightsError(f"{file}: {len(names)} materials do not go with tensors of shapes {shapes}; train it anew")
    return Head(names, *parts)
