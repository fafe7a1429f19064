"""Deep Zoom coordinates: which pixels of which scale a tile shows.

Level numbers are those of Deep Zoom images: level 0 is one pixel, each level is twice as large as the one before, and the last one is the
photo at ``top`` times its own size. Scales are powers of two, so every level from 1x up sits on whole pixels of the photo's planes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainzoom.errors import OptionError

TILE = 256
TOP = 256


@dataclass(frozen=True, slots=True)
class TileBox:
    """A tile: ``scale`` output pixels per photo pixel, and (x0, y0, x1, y1) in pixels of the level."""

    scale: float
    box: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        x0, y0, x1, y1 = self.box
        return x1 - x0, y1 - y0

    @property
    def real(self) -> bool:
        """Whether the photo's own pixels suffice."""
        return self.scale <= 1


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of a photo of (width, height); ``top`` is the deepest scale, a power of two."""

    width: int
    height: int
    top: int = TOP

    @property
    def levels(self) -> int:
        """The number of the last level."""
        return math.ceil(math.log2(max(self.width, self.height) * self.top))

    def scale(self, level: int) -> float:
        """Output pixels per photo pixel on a level."""
        return float(self.top) * 2.0 ** (level - self.levels)

    def level_of(self, scale: float) -> int:
        """The level of a scale that is a power of two."""
        return self.levels + round(math.log2(scale / self.top))

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level in pixels."""
        scale = self.scale(level)
        return max(1, math.ceil(self.width * scale)), max(1, math.ceil(self.height * scale))

    def tile(self, level: int, column: int, row: int) -> TileBox:
        """Where a tile lies. Raises OptionError for one that does not exist."""
        if not 0 <= level <= self.levels:
            raise OptionError(f"this photo has levels 0 to {self.levels}; there is no level {level}")
        width, height = self.size(level)
        columns, rows = -(-width // TILE), -(-height // TILE)
        if not (0 <= column < columns and 0 <= row < rows):
            raise OptionError(f"level {level} has {columns} x {rows} tiles; there is no tile {column}_{row}")
        x, y = column * TILE, row * TILE
        return TileBox(self.scale(level), (x, y, min(x + TILE, width), min(y + TILE, height)))
