"""Where the windows of a level lie: overlapping squares on a fixed grid, their cross-fades, and who needs whom.

Level L shows the photo at ``scale ** L``; level 0 is the photo itself. A window is named by (level, column, row). It reads a square of the
level below and gives that square ``scale`` times as large. ``low`` pixels count on the level below, ``high`` pixels on the level itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.tiles import Span, fades
from chainzoom.errors import OptionError

SMOOTHING = 6
"""How far, in high pixels, the blur reaches that parts low frequencies from the rest (``blend``)."""

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in whole pixels of a level."""


class Index(NamedTuple):
    """The name of a window; sorts by level, then row by row."""

    level: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """Sizes of a plane's parts in low pixels. Raises OptionError when they do not fit together.

    core    distance from one window to the next
    halo    half of what neighbours share; a window is ``core + 2 * halo`` pixels square (less on a smaller plane)
    ramp    width of the widest cross-fade in the middle of what they share; the rest is context for the network alone
    cell    side of the squares in which consistency and colour are corrected, on a grid of their own
    margin  what a correction sees around its square: the weight of what lies beyond falls below 1e-4
    """

    core: int = 128
    halo: int = 16
    ramp: int = 8
    cell: int = 16
    margin: int = 10

    def __post_init__(self) -> None:
        if min(self.core, self.ramp, self.cell) < 1 or self.margin < 0:
            raise OptionError(f"a tiling needs positive sizes; got {self}")
        if self.ramp > 2 * self.halo or self.ramp > self.core // 2:
            raise OptionError(f"a ramp of {self.ramp} needs a halo of at least its half and a core of at least twice it; got {self}")

    @property
    def window(self) -> int:
        """Side of a window's input."""
        return self.core + 2 * self.halo

    @staticmethod
    def of(facts: BackboneFacts, size: int = 512, align: str = "none") -> Tiling:
        """The tiling that suits a backbone: generative ones get windows of the ``size`` they were trained for, others larger ones."""
        wide = 16 if align == "wavelet" else 8  # the wavelet's blurs reach 31 high pixels further
        core = size // facts.scale - 32 if facts.generative else 128
        return Tiling(core=max(core, 32), margin=wide)


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one axis of a level: ``length`` low pixels, ``scale`` high pixels each."""

    length: int
    scale: int
    tiling: Tiling

    @property
    def count(self) -> int:
        """Windows along the axis."""
        return max(1, -(-(self.length - 2 * self.tiling.halo) // self.tiling.core))

    def span(self, number: int) -> Span:
        """(start, stop) in low pixels that window ``number`` reads; the last one is moved back so that all are of one size."""
        start = min(number * self.tiling.core, max(0, self.length - self.tiling.window))
        return start, min(start + self.tiling.window, self.length)

    def kept(self, number: int) -> Span:
        """(start, stop) in high pixels where the window weighs anything."""
        return _faded(self, number)[0]

    def held(self, number: int) -> Span:
        """(start, stop) in high pixels of what is kept of a window: ``kept``, and what its low frequencies need around that."""
        (start, stop), (first, last) = self.kept(number), self.span(number)
        return max(first * self.scale, start - SMOOTHING), min(last * self.scale, stop + SMOOTHING)

    def weight(self, number: int) -> NDArray[np.float32]:
        """The window's weight on ``kept`` for low frequencies; the weights of all windows add up to 1 at every pixel."""
        return self.weights(number)[0]

    def weights(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The window's weights on ``kept`` for low, middle and high frequencies: fades over ``ramp`` and a quarter of it, and a cut."""
        return _faded(self, number)[1]

    def touching(self, start: int, stop: int) -> range:
        """The windows that weigh anything in the high pixels start..stop."""
        first = self._near(start)
        while first > 0 and self.kept(first - 1)[1] > start:
            first -= 1
        while first < self.count - 1 and self.kept(first)[1] <= start:
            first += 1
        last = first
        while last < self.count - 1 and self.kept(last + 1)[0] < stop:
            last += 1
        return range(first, last + 1)

    def owner(self, at: int) -> int:
        """The window that weighs most at a high pixel."""
        return max(self.touching(at, at + 1), key=lambda number: float(self.weight(number)[at - self.kept(number)[0]]))

    def _near(self, high: int) -> int:
        return min(max(0, high // (self.scale * self.tiling.core)), self.count - 1)


@lru_cache(maxsize=4096)
def _faded(axis: Axis, number: int) -> tuple[Span, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    near = [other for other in (number - 1, number, number + 1) if 0 <= other < axis.count]
    spans, own = [axis.span(other) for other in near], near.index(number)
    whole = fades(spans, axis.tiling.ramp, axis.scale)[own]
    narrow = fades(spans, max(1, axis.tiling.ramp // 4), axis.scale)[own]
    (some,) = np.nonzero(whole)
    offset = axis.span(number)[0] * axis.scale
    first, stop = offset + int(some[0]), offset + int(some[-1]) + 1
    at = np.arange(first, stop) + 0.5
    begins = _middle(axis, number) if number else 0.0
    ends = _middle(axis, number + 1) if number + 1 < axis.count else np.inf
    cut = ((at >= begins) & (at < ends)).astype(np.float32)
    weights = (whole[some[0] : some[-1] + 1].copy(), narrow[some[0] : some[-1] + 1].copy(), cut)
    for weight in weights:
        weight.flags.writeable = False
    return (first, stop), weights


def _middle(axis: Axis, number: int) -> float:
    """Where window ``number`` takes over from the one before it, in high pixels."""
    return (axis.span(number - 1)[1] + axis.span(number)[0]) / 2 * axis.scale


@dataclass(frozen=True, slots=True)
class Level:
    """One synthetic level: ``width`` x ``height`` high pixels, ``scale`` ** ``number`` to a photo pixel."""

    number: int
    columns: Axis
    rows: Axis

    @staticmethod
    def of(number: int, photo: tuple[int, int], scale: int, tiling: Tiling) -> Level:
        """Level ``number`` of a photo of (width, height)."""
        below = scale ** (number - 1)
        return Level(number, Axis(photo[0] * below, scale, tiling), Axis(photo[1] * below, scale, tiling))

    @property
    def width(self) -> int:
        """High pixels from left to right."""
        return self.columns.length * self.columns.scale

    @property
    def height(self) -> int:
        """High pixels from top to bottom."""
        return self.rows.length * self.rows.scale

    @property
    def count(self) -> int:
        """Windows of the whole level."""
        return self.columns.count * self.rows.count

    def input(self, index: Index) -> Box:
        """What a window reads, in low pixels."""
        (x0, x1), (y0, y1) = self.columns.span(index.column), self.rows.span(index.row)
        return x0, y0, x1, y1

    def kept(self, index: Index) -> Box:
        """Where a window weighs anything, in high pixels."""
        (x0, x1), (y0, y1) = self.columns.kept(index.column), self.rows.kept(index.row)
        return x0, y0, x1, y1

    def held(self, index: Index) -> Box:
        """What is kept of a window, in high pixels."""
        (x0, x1), (y0, y1) = self.columns.held(index.column), self.rows.held(index.row)
        return x0, y0, x1, y1

    def touching(self, box: Box) -> list[Index]:
        """The windows that shape the high pixels of ``box`` before correction, row by row."""
        x0, y0, x1, y1 = box
        columns = self.columns.touching(x0, x1)
        return [Index(self.number, row, column) for row in self.rows.touching(y0, y1) for column in columns]

    def cells(self, box: Box) -> Box:
        """The correction squares (as numbers, stop exclusive) that cover the high pixels of ``box``."""
        side = self.columns.tiling.cell * self.columns.scale
        x0, y0, x1, y1 = box
        return x0 // side, y0 // side, -(-x1 // side), -(-y1 // side)

    def around(self, cells: Box) -> Box:
        """The low pixels that the corrections of ``cells`` see."""
        tiling = self.columns.tiling
        x0, y0, x1, y1 = (side * tiling.cell for side in cells)
        return (
            max(0, x0 - tiling.margin),
            max(0, y0 - tiling.margin),
            min(self.columns.length, x1 + tiling.margin),
            min(self.rows.length, y1 + tiling.margin),
        )


def times(box: Box, factor: int) -> Box:
    """A box of low pixels in high pixels."""
    x0, y0, x1, y1 = box
    return x0 * factor, y0 * factor, x1 * factor, y1 * factor
