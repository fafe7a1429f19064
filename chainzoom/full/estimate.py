"""What a whole enlargement will cost, before it is begun: counted windows times a measured one."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from chainzoom.backbones.base import informed
from chainzoom.full.writers import TILE, Target, samples
from chainzoom.windows import Index, Planes

ASK_SECONDS = 600.0
ASK_BYTES = 2 << 30
_WINDOW_BYTES = 6


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counted and measured: windows by level, seconds in all and for a window of the first level, bytes of the file and of what is needed
    while it is made.
    """

    windows: dict[int, int]
    seconds: float
    window_seconds: float
    file_bytes: int
    work_bytes: int
    cores: int

    @property
    def core_hours(self) -> float:
        """Hours times cores: what to multiply with a price."""
        return self.seconds * self.cores / 3600

    @property
    def ask(self) -> bool:
        """Whether somebody should agree first: over 10 minutes or 2 GiB."""
        return self.seconds > ASK_SECONDS or self.file_bytes + self.work_bytes > ASK_BYTES

    def facts(self) -> dict[str, Any]:
        """Everything, for JSON."""
        named = {f"{level}": count for level, count in self.windows.items()}
        return {**asdict(self), "windows": named, "core_hours": round(self.core_hours, 4), "ask": self.ask}

    def text(self) -> str:
        """One line for people."""
        count = sum(self.windows.values())
        windows = f"{count} windows, {self.window_seconds:.2f} s for one of the first level, " if count else ""
        return (
            f"about {duration(self.seconds)} on this machine ({windows}{self.core_hours:.2g} core-hours), "
            f"{size(self.file_bytes)} on disk and {size(self.work_bytes)} more while it is made"
        )


def estimate(planes: Planes, level: int, target: Target, tiles: int, cores: int) -> Estimate:
    """Make one window and one tile from the middle of the photo and count. ``tiles`` is how many are still to be made.

    The window is kept in the cache, so nothing is made for the estimate alone.
    """
    windows = planes.count(level)
    share = tiles / (target.grid[0] * target.grid[1])
    window = _window_seconds(planes) if windows and share else 0.0
    tile, ratio = _tile_seconds(planes, target)
    if windows and share:
        tile += _read_seconds(planes)
    deep = _deep_seconds(planes, window) if len(windows) > 1 and share else window
    work = sum(count * (window if at == 1 else deep) for at, count in windows.items())
    seconds = share * work + tiles * tile
    # Two rows of windows at every level lie in the cache of a sweep from top to bottom, and a PNG's row of tiles.
    rows = sum(2 * planes.level(at).columns.count for at in windows)
    spool = TILE * target.width * target.channels * target.depth // 8
    held = rows * _WINDOW_BYTES * (planes.tiling.core * planes.scale) ** 2
    return Estimate(windows, seconds, window, int(target.raw_bytes * ratio), held + spool, cores)


def _window_seconds(planes: Planes) -> float:
    """Seconds for a second window; the first one loads the network, and in time serves as an estimate no better."""
    level = planes.level(1)
    middle = Index(1, level.rows.count // 2, level.columns.count // 2)
    first = Index(1, middle.row, max(0, middle.column - 1))
    planes.ensure([first])
    if middle in planes.cache:
        middle = Index(1, 0, 0)
    start = perf_counter()
    planes.ensure([middle])
    seconds = perf_counter() - start
    if seconds > 1e-3:
        return seconds
    start = perf_counter()
    planes.chain.backbone.upscale(planes.read(0, level.input(first)))
    return perf_counter() - start


def _deep_seconds(planes: Planes, window: float) -> float:
    """Seconds for a window above level 1, where an adaptive backbone may work with another of its parts."""
    backbone = planes.chain.backbone
    told = informed(backbone, 1 / planes.scale)
    if told is backbone:
        return window
    level = planes.level(1)
    crop = planes.read(0, level.input(Index(1, level.rows.count // 2, level.columns.count // 2)))
    seconds = []
    for _ in range(2):  # the first call loads the part
        start = perf_counter()
        told.upscale(crop)
        seconds.append(perf_counter() - start)
    return min(seconds)


def _read_seconds(planes: Planes) -> float:
    """Seconds to blend and correct a tile's worth of pixels whose windows are there."""
    level = planes.level(1)
    x0, y0, x1, y1 = level.kept(Index(1, level.rows.count // 2, max(0, level.columns.count // 2 - 1)))
    side = min(TILE // 2, (x1 - x0) // 2, (y1 - y0) // 2)
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    start = perf_counter()
    planes.read(1, (left, top, left + side, top + side))
    return (perf_counter() - start) * (TILE / side) ** 2


def _tile_seconds(planes: Planes, target: Target) -> tuple[float, float]:
    """Seconds to round and pack a tile, and packed bytes per raw byte, both guessed from the photo enlarged by interpolation."""
    width, height = planes.source.width, planes.source.height
    side = min(TILE // 4, width, height)
    x, y = (width - side) // 2, (height - side) // 2
    start = perf_counter()
    crop = planes.source.read((float(x), float(y), float(x + side), float(y + side)), (TILE, TILE), "bicubic")
    alpha = np.ones((TILE, TILE), np.float32) if target.alpha else None
    raw = samples(crop, alpha, target.depth).astype(np.int32)
    steps = np.diff(raw, axis=1, prepend=0).astype(f"u{target.depth // 8}").tobytes()
    packed = len(zlib.compress(steps))
    return perf_counter() - start, min(1.0, packed / len(steps))


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
