"""An endless plane laid with one texture in its order, and never twice the same: pieces of it, each moved, cut along where they agree.

Pieces lie on a chessboard. Those on black squares are moved by what maps the texture best onto itself, drawn by their place: a brick wall
by whole bricks. Those on white ones are moved so that they fit the four around them. Between two pieces runs the path along which they
differ least (image quilting, Efros and Freeman 2001), from corner to corner of the squares. So a piece depends on its neighbours alone and
any part of the plane can be made by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.lattice import Numbers, drawn

Array = NDArray[np.float32]
Costs = NDArray[np.float16]

PIECE = 256
"""Side of a square in the texture's pixels."""
_COARSE = 2
"""Pieces are fitted in a texture so many times smaller."""
_EDGE = PIECE // _COARSE
_REACH = 24
"""How far a cut may leave the side of its square, in the smaller texture's pixels; so wide on both sides is what must fit."""
_MOVES, _APART = 16, 32
"""Moves of black pieces: how many at most, and how far they are from each other."""
_SAME = 0.97
"""Likeness to itself from which a texture that is moved is the same."""
_KEPT = 20_000
"""Cuts: about 10 MB."""
_SOFT = 5.0
"""Pixels over which one piece turns into the other at a cut."""


class _Side(NamedTuple):
    """Of a white square: which axis it lies across (0: above or below), and whether it is the later of the two."""

    axis: int
    late: int


_SIDES = (_Side(0, 0), _Side(0, 1), _Side(1, 0), _Side(1, 1))


class _Cut(NamedTuple):
    """Between a white piece and a black one: whether the white square's row is odd, at which of its sides, the number of the black move,
    and the white move.
    """

    odd: int
    side: int
    black: int
    white: tuple[int, int]


@dataclass(eq=False, repr=False)
class Courses:
    """``texture`` (S, S), S a multiple of ``2 * PIECE``, continues on its other side. Not safe to share between threads."""

    texture: Array
    _bands: dict[tuple[int, int], tuple[Array, NDArray[np.complex128]]] = field(default_factory=dict)
    _costs: dict[tuple[int, int, int], Costs] = field(default_factory=dict)
    _fits: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)
    _paths: dict[_Cut, NDArray[np.int16]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        side = len(self.texture) // _COARSE
        self._small = self.texture.reshape(side, _COARSE, side, _COARSE).mean((1, 3), dtype=np.float32)
        self._spectrum = np.fft.rfft2(self._small)
        self.moves = self._best_moves()
        self._squares = np.fft.rfft2(self._small**2)
        self._blurred: dict[int, Array] = {}

    def part(self, seed: int, rows: Numbers, columns: Numbers, shrink: int = 1) -> Array:
        """Pixels (rows, columns) of the plane, ``shrink`` times smaller than the texture, a power of two. Each is the mean of those of the
        plane that it covers, but for the cuts' softness.
        """
        pieces = _Pieces.of(self, seed, rows * shrink, columns * shrink)
        middle = (shrink - 1) / 2
        y, x = (rows * shrink + middle)[:, None], (columns * shrink + middle)[None]
        softness = max(_SOFT, float(shrink))
        near = [np.rint(at / PIECE).astype(np.int64) for at in (y, x)]  # the nearest line between squares
        across = np.broadcast_to(np.abs(y - PIECE * near[0]) > np.abs(x - PIECE * near[1]), (len(rows), len(columns)))
        i, j = np.broadcast_arrays((y // PIECE).astype(np.int64), (x // PIECE).astype(np.int64))
        line = np.where(across, near[1], near[0])
        step = np.where(across, y - PIECE * i, x - PIECE * j).astype(np.int64) // _COARSE
        cut = pieces.cuts(across, np.where(across, i, line), np.where(across, line, j), step)
        beyond = np.where(across, x, y) - PIECE * line - cut
        share = np.clip(beyond / softness + 0.5, 0, 1).astype(np.float32)
        source = self._means(shrink)
        total = np.zeros(share.shape, np.float32)
        for late, weight in ((1, 1 - share), (0, share)):
            down, right = pieces.moves(np.where(across, i, line - late), np.where(across, line - late, j))
            at = ((rows * shrink)[:, None] + down) % len(source), ((columns * shrink)[None] + right) % len(source)
            total += weight * source[at]
        return total

    def _means(self, shrink: int) -> Array:
        """Of the ``shrink`` by ``shrink`` pixels that begin at each."""
        if shrink not in self._blurred:
            found, step = np.asarray(self.texture, np.float32), 1
            while step < shrink:
                for axis in (0, 1):
                    found = np.asarray(found + np.roll(found, -step, axis), np.float32) / np.float32(2)
                step *= 2
            self._blurred[shrink] = found
        return self._blurred[shrink]

    def _best_moves(self) -> Numbers:
        """(_MOVES, 2) in the smaller texture's pixels: none, and those after which it looks most like itself, well apart. A move that
        changes nothing is no move.
        """
        likeness = np.fft.irfft2(np.abs(self._spectrum) ** 2, self._small.shape)
        near = _near(likeness >= _SAME * likeness[0, 0])
        likeness[near] = -np.inf
        found = [(0, 0)]
        while len(found) < _MOVES and not np.isneginf(likeness).all():
            down, right = np.unravel_index(int(np.argmax(likeness)), likeness.shape)
            found.append((int(down), int(right)))
            likeness[np.roll(near, found[-1], (0, 1))] = -np.inf
        return np.array(found, np.int64)

    def _cost(self, odd: int, side: int, move: int) -> Costs:
        """(S, S): how badly each move of a white piece fits one of the black one at a side, but for what all have in common."""
        key = (odd, side, move)
        if key not in self._costs:
            if key[:2] not in self._bands:
                self._bands[key[:2]] = self._band(odd, _SIDES[side])
            band, power = self._bands[key[:2]]
            moved = np.roll(self._small, -self.moves[move], (0, 1))
            spectrum = power - 2 * np.conj(np.fft.rfft2(band * moved)) * self._spectrum
            self._costs[key] = np.fft.irfft2(spectrum, self._small.shape).astype(np.float16)
        return self._costs[key]

    def _band(self, odd: int, side: _Side) -> tuple[Array, NDArray[np.complex128]]:
        """(S, S): 1 along a side, and the spectrum of the power that each move brings there."""
        band = np.zeros_like(self._small)
        band[np.ix_(*self._along(odd, side, np.arange(_EDGE), np.arange(-_REACH, _REACH)))] = 1
        return band, np.asarray(np.conj(np.fft.rfft2(band)) * self._squares)

    def _along(self, odd: int, side: _Side, along: Numbers, across: Numbers) -> tuple[Numbers, Numbers]:
        """Rows and columns in the smaller texture of a white square's side; the square is in an odd row, or in an odd column."""
        corner = [0, 0]
        corner[0 if odd else 1] = _EDGE
        corner[side.axis] += _EDGE * side.late
        at = [along, across] if side.axis else [across, along]
        rows, columns = ((start + steps) % len(self._small) for start, steps in zip(corner, at, strict=True))
        return rows, columns

    def fit(self, odd: int, around: tuple[int, ...]) -> tuple[int, int]:
        """The move of a white piece for the numbers of the moves around it, in the order of _SIDES."""
        key = (odd, *around)
        if key not in self._fits:
            costs = [self._cost(odd, side, move) for side, move in enumerate(around)]
            at = int(np.argmin(np.sum(costs, axis=0, dtype=np.float32)))
            self._fits[key] = at // len(self._small), at % len(self._small)
        return self._fits[key]

    def cuts(self, wanted: Sequence[_Cut]) -> list[NDArray[np.int16]]:
        """Their paths: how far beyond the side of the white square they run, in the texture's pixels, at _EDGE steps along it."""
        if len(self._paths) > _KEPT:
            self._paths.clear()
        missing = [cut for cut in dict.fromkeys(wanted) if cut not in self._paths]
        if missing:
            paths = least_path(np.stack([self._errors(cut) for cut in missing])) * _COARSE
            self._paths.update(zip(missing, paths.astype(np.int16), strict=True))
        return [self._paths[cut] for cut in wanted]

    def _errors(self, cut: _Cut) -> Array:
        """(_EDGE, 2 * _REACH + 1): how much the two pieces differ along and across their side."""
        side = _SIDES[cut.side]
        rows, columns = self._along(cut.odd, side, np.arange(_EDGE), np.arange(-_REACH, _REACH + 1))
        black, white = (
            self._small[np.ix_((rows + down) % len(self._small), (columns + right) % len(self._small))]
            for down, right in (self.moves[cut.black], cut.white)
        )
        difference = (black - white) ** 2
        return np.asarray(difference if side.axis else difference.T, np.float32)


def _near(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is less than _APART from a mark along both axes."""
    for axis in (0, 1):
        marked = np.any([np.roll(marked, step, axis) for step in range(1 - _APART, _APART)], axis=0)
    return marked


def least_path(errors: Array) -> NDArray[np.int64]:
    """(n, steps, width), width odd, to the (n, steps) places beside the middle of the cheapest path of each, which begins and ends in the
    middle and moves by one at most.
    """
    count, steps, width = errors.shape
    beside = np.arange(width) - width // 2
    limit = np.minimum(np.arange(steps), np.arange(steps)[::-1])
    errors = np.where(np.abs(beside)[None, None] <= limit[None, :, None], errors, np.inf)
    total, came = errors[:, 0].copy(), np.zeros((count, steps, width), np.int8)
    for step in range(1, steps):
        padded = np.pad(total, [(0, 0), (1, 1)], constant_values=np.inf)
        choices = np.stack([padded[:, 1:-1], padded[:, :-2], padded[:, 2:]])
        came[:, step] = np.array([0, -1, 1], np.int8)[choices.argmin(0)]
        total = choices.min(0) + errors[:, step]
    path = np.empty((count, steps), np.int64)
    path[:, -1] = total.argmin(1)
    for step in range(steps - 1, 0, -1):
        path[:, step - 1] = path[:, step] + came[np.arange(count), step, path[:, step]]
    return np.asarray(path - width // 2)


@dataclass(frozen=True)
class _Pieces:
    """Moves and cuts of the squares from (top, left) on: ``moved`` (n, m, 2) in the texture's pixels; ``above`` and ``before``
    (n, m, _EDGE): the cut along a square's first row and along its first column.
    """

    top: int
    left: int
    moved: Numbers
    above: NDArray[np.int16]
    before: NDArray[np.int16]

    @classmethod
    def of(cls, courses: Courses, seed: int, rows: Numbers, columns: Numbers) -> _Pieces:
        """Those that a part of the plane shows, and their neighbours."""
        i, j = (np.arange(at.min() // PIECE - 1, at.max() // PIECE + 3) for at in (rows, columns))
        # One more on each side, since a white piece asks all its neighbours.
        numbers = drawn(seed, np.arange(i[0] - 1, i[-1] + 2), np.arange(j[0] - 1, j[-1] + 2), len(courses.moves))[0]
        moved = courses.moves[numbers[1:-1, 1:-1]]
        above, before = (np.zeros((len(i), len(j), _EDGE), np.int16) for _ in range(2))
        places: list[tuple[NDArray[np.int16], int, int]] = []
        wanted: list[_Cut] = []
        for a, b in np.argwhere((i[:, None] + j[None]) % 2 == 1):
            around = numbers[a, b + 1], numbers[a + 2, b + 1], numbers[a + 1, b], numbers[a + 1, b + 2]
            odd, black = int(i[a] % 2), tuple(int(number) for number in around)
            white = courses.fit(odd, black)
            moved[a, b] = white
            for side, (axis, late) in enumerate(_SIDES):
                y, x = (a, b + late) if axis else (a + late, b)
                if y < len(i) and x < len(j):
                    places.append((before if axis else above, y, x))
                    wanted.append(_Cut(odd, side, black[side], white))
        for (array, y, x), path in zip(places, courses.cuts(wanted), strict=True):
            array[y, x] = path
        return cls(int(i[0]), int(j[0]), moved * _COARSE, above, before)

    def moves(self, rows: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
        """Of the pieces in these squares, down and right."""
        at = rows - self.top, columns - self.left
        return self.moved[(*at, 0)], self.moved[(*at, 1)]

    def cuts(self, before: NDArray[np.bool_], rows: Numbers, columns: Numbers, steps: Numbers) -> NDArray[np.int16]:
        """How far the cut is beyond a square's first column (``before``) or first row, at these steps along it."""
        at = rows - self.top, columns - self.left, steps
        return np.where(before, self.before[at], self.above[at])
