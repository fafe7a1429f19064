"""Corrections on the blended level: in squares of a fixed grid, so that which pixels were asked for changes nothing.

The projection of ``correctors/consistency.py`` is global over a picture, but what a place owes to its surroundings falls off exponentially
(about tenfold every two low pixels): a square with ten low pixels around it comes out as in the whole level to 1e-4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chainzoom.correctors.colour import align
from chainzoom.correctors.consistency import project
from chainzoom.images import Image, clip, resize
from chainzoom.settings import Settings
from chainzoom.windows.grid import Box, Level, times

_KEPT_BYTES = 48 << 20
_UNREACHED_DB = 140.0

Reader = Callable[[Box], Image]


class Square(NamedTuple):
    """The name of a correction square."""

    level: int
    row: int
    column: int


class Squares:
    """Corrected squares of all levels; the recent ones are kept. Not safe to share between threads without a lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[Square, Image] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def needed(settings: Settings) -> bool:
        """Whether these settings correct anything on the blended level (``adain`` acts before, on each window)."""
        return settings.consistency > 0 or settings.align == "wavelet"

    @staticmethod
    def seen(level: Level, box: Box) -> Box:
        """The low pixels that the corrected high pixels of ``box`` depend on, above those that the windows read."""
        return level.around(level.cells(box))

    def read(self, level: Level, box: Box, below: Reader, blended: Reader) -> Image:
        """Corrected pixels of ``box``; ``below`` reads low pixels of the level below, ``blended`` high pixels of this one."""
        x0, y0, x1, y1 = level.cells(box)
        names = [Square(level.number, row, column) for row in range(y0, y1) for column in range(x0, x1)]
        found = {name: self._kept[name] for name in names if name in self._kept}
        if len(found) < len(names):
            seen = self.seen(level, box)
            given, made = below(seen), blended(times(seen, level.columns.scale))
            for name in names:
                if name not in found:
                    found[name] = self._keep(name, self._correct(level, name, seen, given, made))
        out = np.empty((box[3] - box[1], box[2] - box[0], 3), np.float32)
        side = level.columns.tiling.cell * level.columns.scale
        for name, part in found.items():
            top, left = name.row * side, name.column * side
            a, b = max(top, box[1]), min(top + part.shape[0], box[3])
            c, d = max(left, box[0]), min(left + part.shape[1], box[2])
            out[a - box[1] : b - box[1], c - box[0] : d - box[0]] = part[a - top : b - top, c - left : d - left]
        return out

    def _correct(self, level: Level, name: Square, seen: Box, given: Image, made: Image) -> Image:
        zoom, side, settings = level.columns.scale, level.columns.tiling.cell, self._settings
        cell = (name.column, name.row, name.column + 1, name.row + 1)
        around = level.around(cell)
        x0, y0, x1, y1 = (around[0] - seen[0], around[1] - seen[1], around[2] - seen[0], around[3] - seen[1])
        source = np.ascontiguousarray(given[y0:y1, x0:x1])
        image = np.ascontiguousarray(made[y0 * zoom : y1 * zoom, x0 * zoom : x1 * zoom])
        if settings.align == "wavelet":
            image = align(image, clip(resize(source, (image.shape[1], image.shape[0]), "bicubic")), "wavelet")
        image = project(image, source, settings.consistency, enough_db=_UNREACHED_DB)
        left, top = (cell[0] * side - around[0]) * zoom, (cell[1] * side - around[1]) * zoom
        return image[top : top + side * zoom, left : left + side * zoom].copy()

    def _keep(self, name: Square, part: Image) -> Image:
        self._kept[name] = part
        self._bytes += part.nbytes
        while self._bytes > _KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return part
