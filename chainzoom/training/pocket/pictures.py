"""Real pictures for the critics: crops of a prepared folder at many scales, evenly over materials, with their words."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import OptionError
from chainzoom.training.pocket import fur

MANIFEST = "manifest.jsonl"
_LARGEST, _SMALLEST = 1024, 160
"""Longest side of the largest level kept in memory, shortest side of the smallest."""
_LEAST = 257
"""Shortest side of pictures that are used: smaller textures show the blocks of their compression, which would be learnt."""
_SHRINK = 2**-0.5
_SHARP = 0.35
"""A level is used when its finest detail, for its contrast, is at least this share of what natural photos have."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A picture: its levels (uint8, (H, W, 3)), the sentences that may be said of it, and what it is."""

    name: str
    kind: str
    materials: tuple[str, ...]
    levels: tuple[NDArray[np.uint8], ...]
    sentences: tuple[int, ...]


class Library:
    """All pictures of one split, in memory.

    words   (sentences, 384) embeddings; ``texts`` the sentences themselves
    """

    def __init__(
        self,
        folder: Path,
        embed: Embed,
        split: str = "train",
        photos: float = 0.25,
        limit: int = 0,
        coats: bool = False,
        emphasis: Mapping[str, float] | None = None,
    ) -> None:
        """``photos``: share of draws that are photos; ``coats``: drawn furs as well; ``emphasis``: how much
        more often than by the root rule a material is drawn.

        Raises OptionError when the folder holds no manifest or nothing of the split.
        """
        file = folder / MANIFEST
        if not file.is_file():
            raise OptionError(f"{folder} holds no {MANIFEST}; prepare it with: chainzoom train pocket-data {folder}")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row["split"] == split and min(row["width"], row["height"]) >= _LEAST][: limit or None]
        if not rows:
            raise OptionError(f"{file} names no pictures of the split {split!r}")
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self.entries = [entry for row in rows if (entry := self._entry(folder, row))]
        self.entries += [self._drawn(coat) for coat in fur.COATS if coats]
        self.words = embed(self.texts)
        self._weights = _balance(self.entries, photos, emphasis or {})

    def _entry(self, folder: Path, row: dict[str, Any]) -> Entry | None:
        with PILImage.open(folder / row["file"]) as picture:
            levels = _levels(picture.convert("RGB"))
        if not levels:
            return None
        numbers = tuple(self._number(text) for text in sentences(row["caption"], row["materials"]))
        return Entry(Path(row["file"]).stem, row["kind"], tuple(row["materials"]), levels, numbers)

    def _drawn(self, coat: fur.Coat) -> Entry:
        numbers = tuple(self._number(text) for text in sentences(coat.caption, ["fur"]))
        return Entry(f"drawn-{coat.name}", "texture", ("fur",), _levels(PILImage.fromarray(fur.draw(coat))), numbers)

    def _number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]

    def draw(self, generator: np.random.Generator) -> int:
        """A picture's number."""
        return int(generator.choice(len(self.entries), p=self._weights))

    def say(self, number: int, generator: np.random.Generator) -> int:
        """The number of a sentence about a picture."""
        return int(generator.choice(self.entries[number].sentences))

    def crop(self, number: int, side: int, generator: np.random.Generator) -> NDArray[np.uint8]:
        """(side, side, 3) at a random level and place, mirrored at random; surfaces are turned too."""
        entry = self.entries[number]
        level = entry.levels[int(generator.integers(len(entry.levels)))]
        y, x = (int(generator.integers(length - side + 1)) for length in level.shape[:2])
        part = level[y : y + side, x : x + side]
        if generator.random() < 0.5:
            part = part[:, ::-1]
        if entry.kind != "photo":
            part = np.rot90(part, int(generator.integers(4)))
        return np.ascontiguousarray(part)


def sentences(caption: str, materials: Sequence[str]) -> list[str]:
    """What may be said of a picture: its caption, its words in other orders and fewer, its materials, plainly or as people write."""
    words = [word for word in caption.replace(",", " ").split() if not word.isdigit()]
    said = [caption, *materials, ", ".join(words)]
    if materials:
        said += [", ".join(materials), f"a close-up of {materials[0]}", f"{materials[0]} texture"]
        said += [f"{materials[0]}, {extra}" for extra in _extras(caption)]
    shuffler = np.random.default_rng(zlib.crc32(caption.encode()))
    for count in (2, 3):
        if len(words) > count:
            said.append(", ".join(shuffler.permutation(words)[:count].tolist()))
    return list(dict.fromkeys(text for text in said if text))


_EXTRAS = ("soft", "dark", "bright", "brown", "grey", "green", "blue", "warm", "macro photo", "detailed", "blurred", "textured", "smooth")


def _extras(caption: str) -> list[str]:
    """Two of the words that a tagger adds about colour and sharpness; they say nothing of the material."""
    start = zlib.crc32(caption.encode()) % len(_EXTRAS)
    return [_EXTRAS[start], _EXTRAS[(start + 5) % len(_EXTRAS)]]


def _levels(picture: PILImage.Image) -> tuple[NDArray[np.uint8], ...]:
    from chainzoom.evaluation.metrics.texture import NATURAL_RATIO, spectral_ratio

    scale = min(1.0, _LARGEST / max(picture.size))
    found = []
    while min(picture.size) * scale >= _SMALLEST:
        size = (round(picture.width * scale), round(picture.height * scale))
        level = picture if scale == 1 else picture.resize(size, PILImage.Resampling.LANCZOS)
        plane = np.asarray(level.convert("L"), np.float64) / 255
        middle = plane[max(0, plane.shape[0] // 2 - 128) :][:256, max(0, plane.shape[1] // 2 - 128) :][:, :256]
        if spectral_ratio(middle) >= _SHARP * NATURAL_RATIO:
            found.append(np.asarray(level))
        scale *= _SHRINK
    return tuple(found)


def _balance(entries: Sequence[Entry], photos: float, emphasis: Mapping[str, float]) -> NDArray[np.float64]:
    """Draw materials evenly (by the root of their number), photos as often as asked."""
    counts: dict[str, int] = {}
    for entry in entries:
        for material in entry.materials:
            counts[material] = counts.get(material, 0) + 1
    rare = [
        float(np.mean([counts[m] ** -0.5 * emphasis.get(m, 1.0) for m in entry.materials])) if entry.materials else 0.1 for entry in entries
    ]
    weights = np.array(rare)
    is_photo = np.array([entry.kind == "photo" for entry in entries])
    for mask, share in ((is_photo, photos), (~is_photo, 1 - photos)):
        if mask.any():
            weights[mask] *= share / weights[mask].sum()
    return np.asarray(weights / weights.sum())
