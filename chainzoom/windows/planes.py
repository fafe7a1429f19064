"""All levels of one photo: ask for any pixels of any level, and the windows they need are made, and no others.

The pixels of a level are: windows (``render``), blended where they overlap, then corrected against the level below in small squares of a
fixed grid. Every part is a pure function of its place, so any order, any machine of the same kind, and any time give the same pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from threading import RLock
from typing import Any, cast

import numpy as np

from chainzoom.chain import Chain, with_user_words
from chainzoom.errors import OptionError
from chainzoom.images import Image, Kernel, clip, from_uint, resize, to_uint16
from chainzoom.prompters.base import Prompt
from chainzoom.seeds import check_seed, derive
from chainzoom.settings import INTERPOLATIONS
from chainzoom.sources import Source
from chainzoom.windows.blend import add
from chainzoom.windows.cache import Pixels, WindowCache
from chainzoom.windows.family import Family
from chainzoom.windows.grid import Box, Index, Level, Tiling, times
from chainzoom.windows.render import WindowRenderer, WindowWork
from chainzoom.windows.squares import Squares
from chainzoom.windows.words import Words

ALGORITHM = 13
"""Part of every ``Planes.identity``; to be raised with each change that gives a level other pixels from the same inputs."""

_RESAMPLING_REACH = 3


class Planes:
    """The levels of a photo under one chain and seed.

    chain   backbone, prompter and settings; the modes are ``multiscale`` and ``recursive`` (here the same) and the interpolations
    tiling  sizes of windows and squares; the default suits the backbone
    cache   where made windows are kept
    batch   windows that go through the prompter and the backbone together

    Safe to share between threads; windows are made by one at a time. Raises OptionError for a mode or protocol that has no planes.
    """

    def __init__(
        self,
        source: Source,
        chain: Chain,
        *,
        seed: int = 0,
        tiling: Tiling | None = None,
        cache: WindowCache | None = None,
        batch: int = 8,
        inherit: bool = True,
    ) -> None:
        check_seed(seed)
        settings = chain.settings
        if settings.mode == "onestep" or settings.protocol != "native":
            raise OptionError(
                f"a whole image needs a mode that goes level by level and the native protocol; got {settings.mode}, {settings.protocol}"
            )
        facts = chain.backbone.facts
        if settings.step not in ("auto", "4", str(facts.scale)):
            raise OptionError(f"a whole image goes up by the backbone's own factor, {facts.scale}; got --step {settings.step}")
        self.source, self.chain, self.seed, self.batch = source, chain, seed, batch
        self.scale = facts.scale
        self.tiling = tiling or Tiling.of(facts, settings.size, settings.align)
        self.cache = WindowCache() if cache is None else cache
        self.renderer = WindowRenderer(chain.backbone, settings.align)
        self.words = Words(chain.prompter, inherit=inherit) if chain.prompter is not None else None
        self.made: dict[int, int] = {}
        self._inherit = inherit
        self._plain = settings.mode in INTERPOLATIONS
        self._corrected = not self._plain and Squares.needed(settings)
        self._squares = Squares(settings)
        looks = bool(getattr(chain.prompter, "looks_at_photo", False))
        self._family = Family(self, self.words, side=settings.size, looks=looks, seed=seed) if self.words else None
        self._lock = RLock()

    def level(self, number: int) -> Level:
        """The geometry of a level, 1 and up."""
        return Level.of(number, (self.source.width, self.source.height), self.scale, self.tiling)

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of a level in pixels; level 0 is the photo."""
        zoom = self.scale**number
        return self.source.width * zoom, self.source.height * zoom

    def identity(self, parts: Mapping[str, Any] | None = None) -> str:
        """A hash of everything that decides the pixels: what a cache on disk must be named after.

        ``parts`` are further facts that the chain does not know, e.g. ``Preset.parts()``.
        """
        facts, prompter = self.chain.backbone.facts, self.chain.prompter
        told = prompter if facts.uses_prompt else None
        known = {
            "algorithm": ALGORITHM,
            "photo": self.source.sha256,
            "backbone": [facts.name, facts.scale, [weights.sha256 for weights in facts.weights]],
            "prompter": [told.name, [weights.sha256 for weights in told.weights], self._inherit] if told else None,
            "settings": asdict(self.chain.settings),
            "tiling": asdict(self.tiling),
            "seed": self.seed,
            "parts": dict(parts or {}),
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def read(self, number: int, box: Box) -> Image:
        """The pixels of ``box`` on a level, (h, w, 3) float32 in [0, 1]: the same for every way of cutting a level into boxes.

        Raises OptionError for a box that is empty or leaves the level.
        """
        width, height = self.size(number)
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise OptionError(f"level {number} has {width} x {height} pixels; there is no region {box} on it")
        if number == 0:
            return self.source.read((float(x0), float(y0), float(x1), float(y1)), (x1 - x0, y1 - y0))
        if self._plain:
            return self._interpolated(number, box)
        with self._lock:
            if not self._corrected:
                return self._blended(number, box)
            return self._squares.read(
                self.level(number), box, lambda part: self.read(number - 1, part), lambda part: self._blended(number, part)
            )

    def read_at(self, scale: float, box: Box) -> Image:
        """The pixels of ``box`` in a picture of the whole photo at any ``scale``, which is ``size_at(scale)`` pixels large.

        Scales that are no level's are shrunk from the level above by Lanczos; scales up to 1 show the photo's own pixels.
        """
        number, around, inside = self._source_of(scale, box)
        if inside is None:
            return self.read(number, around)
        size = (box[2] - box[0], box[3] - box[1])
        if number == 0:
            return self.source.read((inside[0] + around[0], inside[1] + around[1], inside[2] + around[0], inside[3] + around[1]), size)
        return clip(resize(self.read(number, around), size, "lanczos", inside))

    def _source_of(self, scale: float, box: Box) -> tuple[int, Box, tuple[float, float, float, float] | None]:
        """The level and its pixels that a box at a scale is made from, and its exact place among them (None: they are it)."""
        number = self.level_for(scale)
        zoom = float(self.scale**number)
        if scale == zoom:
            return number, box, None
        factor, (width, height) = zoom / scale, self.size(number)
        x0, y0, x1, y1 = (side * factor for side in box)
        reach = math.ceil(_RESAMPLING_REACH * factor) + 1
        left, top = max(0, math.floor(x0) - reach), max(0, math.floor(y0) - reach)
        around = (left, top, min(width, math.ceil(x1) + reach), min(height, math.ceil(y1) + reach))
        return number, around, (x0 - left, y0 - top, min(x1, width) - left, min(y1, height) - top)

    def prepare(self, scale: float, box: Box) -> None:
        """Make the windows of a region before it is read piece by piece, so that the prompter and the backbone get batches."""
        number, around, _ = self._source_of(scale, box)
        if number and not self._plain:
            level = self.level(number)
            self.ensure(level.touching(times(Squares.seen(level, around), self.scale) if self._corrected else around))

    def windows_at(self, scale: float, box: Box) -> dict[int, set[Index]]:
        """As ``windows_for``, for a region of a picture at any scale."""
        number, around, _ = self._source_of(scale, box)
        return self.windows_for(number, around)

    def size_at(self, scale: float) -> tuple[int, int]:
        """Width and height of the whole photo at a scale."""
        return (max(1, math.floor(self.source.width * scale + 1e-6)), max(1, math.floor(self.source.height * scale + 1e-6)))

    def level_for(self, scale: float) -> int:
        """The level whose pixels a scale is made from: the first that is at least as fine."""
        number = 0
        while self.scale**number < scale * (1 - 1e-9):
            number += 1
        return number

    def windows_for(self, number: int, box: Box) -> dict[int, set[Index]]:
        """Every window that ``box`` needs when nothing is cached, by level, the deepest first."""
        needed: dict[int, set[Index]] = {}
        boxes = [box]
        for at in range(number if not self._plain else 0, 0, -1):
            level = self.level(at)
            lower: set[Box] = set()
            found = needed.setdefault(at, set())
            for part in boxes:
                seen = Squares.seen(level, part)
                lower |= {seen} if self._corrected else set()
                found.update(level.touching(times(seen, self.scale) if self._corrected else part))
            lower |= {level.input(index) for index in found}
            boxes = sorted(lower)
        return needed

    def count(self, number: int) -> dict[int, int]:
        """Windows of whole levels, 1 to ``number``."""
        return {} if self._plain else {at: self.level(at).count for at in range(1, number + 1)}

    def ensure(self, indices: Iterable[Index]) -> None:
        """Make these windows of one level, and what they need below, unless they are cached; in batches."""
        with self._lock:
            missing = sorted({index for index in indices if index not in self.cache})
            for start in range(0, len(missing), self.batch):
                self._make(missing[start : start + self.batch])

    def window(self, index: Index) -> Image:
        """A window's own pixels before it is blended, as far as they are kept (``Level.held``); made if need be."""
        with self._lock:
            return from_uint(self._pixels(index))

    def describe(self, indices: Sequence[Index]) -> list[Prompt]:
        """The prompts of windows of one level, the user's words included: for the backbone, or to be shown.

        Needs the windows above them, whose pixels the prompter sees; the prompter is asked once for all that have no words yet.
        """
        settings = self.chain.settings
        with self._lock:
            prompts = self._family.describe(indices) if self._family and indices else [Prompt("", "null")] * len(indices)
        return [with_user_words(prompt, settings.user_prompt, settings.protocol) for prompt in prompts]

    def seed_of(self, index: Index) -> int:
        """The seed that a window's backbone call gets."""
        return derive(self.seed, self.source.sha256, "window", index.level, index.column, index.row)

    def _interpolated(self, number: int, box: Box) -> Image:
        """Straight from the photo; sums of powers of two, so that the place of the crop changes no bit."""
        zoom = self.scale**number
        low = (box[0] // zoom, box[1] // zoom, -(-box[2] // zoom), -(-box[3] // zoom))
        x0, y0 = (max(0, side - _RESAMPLING_REACH) for side in low[:2])
        x1, y1 = min(self.source.width, low[2] + _RESAMPLING_REACH), min(self.source.height, low[3] + _RESAMPLING_REACH)
        crop = self.read(0, (x0, y0, x1, y1))
        inside = (box[0] / zoom - x0, box[1] / zoom - y0, box[2] / zoom - x0, box[3] / zoom - y0)
        return clip(resize(crop, (box[2] - box[0], box[3] - box[1]), cast(Kernel, self.chain.settings.mode), inside))

    def _blended(self, number: int, box: Box) -> Image:
        """Windows added up with their weights."""
        level = self.level(number)
        indices = level.touching(box)
        self.ensure(indices)
        out = np.zeros((box[3] - box[1], box[2] - box[0], 3), np.float32)
        for index in indices:
            add(out, box, level, index, self._pixels(index))  # made again when the cache is smaller than what one region needs
        return clip(out)

    def _make(self, indices: Sequence[Index]) -> list[Pixels]:
        number = indices[0].level
        level = self.level(number)
        boxes = [level.input(index) for index in indices]
        images = [self.read(number - 1, box) for box in boxes]
        steered = self.chain.backbone.facts.uses_prompt
        prompts = [prompt.text for prompt in self.describe(indices)] if steered else [""] * len(indices)
        works = [
            WindowWork(index, image, box[:2], prompt, self.seed_of(index), 1 / self.scale ** (number - 1))
            for index, image, box, prompt in zip(indices, images, boxes, prompts, strict=True)
        ]
        made = self.renderer.render(works, derive(self.seed, self.source.sha256, "field"))
        kept = []
        for index, box, image in zip(indices, boxes, made, strict=True):
            x0, y0, x1, y1 = level.held(index)
            left, top = box[0] * self.scale, box[1] * self.scale
            pixels = to_uint16(image[y0 - top : y1 - top, x0 - left : x1 - left])
            self.cache.put(index, pixels)
            kept.append(pixels)
        self.made[number] = self.made.get(number, 0) + len(indices)
        return kept

    def _pixels(self, index: Index) -> Pixels:
        x0, y0, x1, y1 = self.level(index.level).held(index)
        pixels = self.cache.get(index, (y1 - y0, x1 - x0))
        return self._make([index])[0] if pixels is None else pixels
