"""Which window is whose parent, and what the prompter sees of each: (parent view, crop) for many windows at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from chainzoom.images import Image
from chainzoom.prompters.base import Prompt
from chainzoom.seeds import derive
from chainzoom.sources import Source
from chainzoom.windows.grid import Box, Index, Level
from chainzoom.windows.words import Asked, Words

Key = tuple[int, ...]
_WHOLE: Key = (-1,)


class Levels(Protocol):
    """What words need of the planes."""

    source: Source
    scale: int

    def level(self, number: int) -> Level:
        """Geometry."""
        ...

    def read(self, number: int, box: Box) -> Image:
        """Pixels of a level."""
        ...

    def window(self, index: Index) -> Image:
        """A window's own pixels, before blending."""
        ...

    def ensure(self, indices: Iterable[Index]) -> None:
        """Make windows."""
        ...

    def seed_of(self, index: Index) -> int:
        """A window's seed."""
        ...


class Family:
    """Words from the top of the tree down.

    looks   whether the prompter is also asked about the photo: the whole of it, and its squares of ``side`` pixels
    """

    def __init__(self, levels: Levels, words: Words, *, side: int, looks: bool, seed: int) -> None:
        self._levels, self._words, self._side, self._looks = levels, words, side, looks
        self._seed = derive(seed, levels.source.sha256, "words")

    def describe(self, indices: Sequence[Index]) -> list[Prompt]:
        """The prompts of windows of one level, in order; what their parents need is seen to first."""
        number = indices[0].level
        above = {index: self._above(index) for index in indices}
        parents = self._squares(above.values()) if number == 1 else self._windows(above.values())
        zoom = self._levels.scale
        asked = []
        for index in indices:
            box = self._levels.level(number).input(index)
            crop = self._levels.read(number - 1, box)
            shape = (crop.shape[1] * zoom, crop.shape[0] * zoom)
            told = above[index] if number > 1 or self._looks else None
            seed = self._levels.seed_of(index)
            parent, place = parents[above[index]], _share(box, self._box(above[index]))
            asked.append(Asked(tuple(index), told, parent, crop, shape, float(zoom**number), float(zoom), seed, place=place))
        return self._words.describe(asked)

    def _above(self, index: Index) -> Key:
        levels = self._levels
        x0, y0, x1, y1 = levels.level(index.level).input(index)
        x, y = (x0 + x1) // 2, (y0 + y1) // 2
        if index.level == 1:
            return 0, y // self._side, x // self._side
        below = levels.level(index.level - 1)
        return tuple(Index(index.level - 1, below.rows.owner(y), below.columns.owner(x)))

    def _windows(self, keys: Iterable[Key]) -> dict[Key, Image]:
        homes = [Index(*key) for key in sorted(set(keys))]
        if unknown := [home for home in homes if tuple(home) not in self._words]:
            self.describe(unknown)
        self._levels.ensure(homes)
        return {tuple(home): self._levels.window(home) for home in homes}

    def _squares(self, keys: Iterable[Key]) -> dict[Key, Image]:
        squares = {key: self._square(key) for key in sorted(set(keys))}
        unknown = [key for key in squares if key not in self._words] if self._looks else []
        if unknown:
            source = self._levels.source
            width, height = source.width, source.height
            fit = min(1.0, self._side / max(width, height))
            size = (max(1, round(width * fit)), max(1, round(height * fit)))
            whole = source.read((0.0, 0.0, float(width), float(height)), size)
            self._words.describe([Asked(_WHOLE, None, None, whole, size, fit, 1.0, self._seed)])
            shapes = {key: (squares[key].shape[1], squares[key].shape[0]) for key in unknown}
            # What the whole photo shows need not be in each part of it, however alike they look.
            frame = (0, 0, width, height)
            places = {key: _share(self._box(key), frame) for key in unknown}
            self._words.describe(
                [Asked(key, _WHOLE, whole, squares[key], shapes[key], 1.0, 1.0, self._seed, True, places[key]) for key in unknown]
            )
        return squares

    def _square(self, key: Key) -> Image:
        """A square of the photo."""
        return self._levels.read(0, self._box(key))

    def _box(self, key: Key) -> Box:
        """What a parent shows, in pixels of its level: a square of the photo (those at the far ends are moved back) or a window."""
        if key[0] > 0:
            x0, y0, x1, y1 = (self._levels.scale * edge for edge in self._levels.level(key[0]).input(Index(*key)))
            return x0, y0, x1, y1
        width, height = self._levels.source.width, self._levels.source.height
        x0, y0 = min(key[2] * self._side, max(0, width - self._side)), min(key[1] * self._side, max(0, height - self._side))
        return x0, y0, min(x0 + self._side, width), min(y0 + self._side, height)


def _share(box: Box, frame: Box) -> tuple[float, float, float, float]:
    """Where ``box`` lies in ``frame``, in shares of its width and height; what sticks out is cut."""
    x0, y0, x1, y1 = frame
    left, right = (min(1.0, max(0.0, (x - x0) / (x1 - x0))) for x in (box[0], box[2]))
    top, bottom = (min(1.0, max(0.0, (y - y0) / (y1 - y0))) for y in (box[1], box[3]))
    return left, top, right, bottom
