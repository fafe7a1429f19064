"""A PNG of any size, row by row: tiles wait on disk until their row of tiles is whole, then its lines are packed and appended."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.full.journal import Journal
from chainzoom.full.writers import TILE, DataFile, Target, disk, entries, samples
from chainzoom.images import Image
from chainzoom.pictures import encode_png
from chainzoom.png_chunks import chunk

MAX_SIDE = 2**31 - 1
_LEVEL = 6
_CHUNK_BYTES = 8 << 20


class PngWriter:
    """See writers.Writer. Each row of tiles is an own run of Deflate blocks, so that work can stop and go on between two of them."""

    def __init__(self, folder: Path, target: Target, journal: Journal) -> None:
        self._target, self._journal = target, journal
        self._pixel = target.channels * target.depth // 8
        self._columns, self._rows = target.grid
        whole = entries(journal, "band")
        self._band = len(whole)
        self._adler = int(whole[-1]["adler"]) if whole else 1
        self._data = DataFile(folder / "data.png", int(whole[-1]["end"]) if whole else 0)
        self._spool = DataFile(folder / "band.raw", TILE * target.width * self._pixel)
        if not whole:
            self._data.append(_head(target))
        started = {int(entry["tile"]) for entry in entries(journal, "tile")}
        self.done = {number for number in started if number >= self._band * self._columns} | set(range(self._band * self._columns))
        journal.sync = self._sync
        self._pack_if_whole()

    def write(self, number: int, image: Image, alpha: NDArray[np.float32] | None) -> None:
        """See writers.Writer."""
        row, column = divmod(number, self._columns)
        if row != self._band:
            raise ValueError(f"tile {number} is not in row {self._band}, which is not whole yet")
        tile = samples(image, alpha, self._target.depth)
        data = tile if self._target.depth == 8 else tile.astype(">u2")
        for line in range(len(data)):
            self._spool.put((line * self._target.width + column * TILE) * self._pixel, data[line].tobytes())
        self.done.add(number)
        self._journal.append({"tile": number})
        self._pack_if_whole()

    def finish(self, out: Path) -> None:
        """See writers.Writer."""
        self._journal.flush()
        last = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15).flush()
        self._data.append(chunk(b"IDAT", last + struct.pack(">I", self._adler)) + chunk(b"IEND", b""))
        self._data.sync()
        self._data.close()
        self._spool.close()
        with disk(out):
            self._data.path.replace(out)

    def close(self) -> None:
        """See writers.Writer."""
        self._journal.close()
        self._data.close()
        self._spool.close()

    def _sync(self) -> None:
        self._spool.sync()
        self._data.sync()

    def _pack_if_whole(self) -> None:
        while self._band < self._rows and all(self._band * self._columns + c in self.done for c in range(self._columns)):
            self._journal.flush()
            self._pack(min(TILE, self._target.height - self._band * TILE))
            self._band += 1
            self._journal.append({"band": self._band, "end": self._data.end, "adler": self._adler})
            self._journal.flush()

    def _pack(self, lines: int) -> None:
        """Filter, compress and append the spooled lines."""
        width = self._target.width * self._pixel
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
        step = max(1, _CHUNK_BYTES // width)
        before: NDArray[np.uint8] | None = None
        for start in range(0, lines, step):
            count = min(step, lines - start)
            rows = np.frombuffer(self._spool.get(start * width, count * width), np.uint8).reshape(count, width)
            filtered = _filtered(rows, before, self._pixel).tobytes()
            before = rows[-1]
            self._adler = zlib.adler32(filtered, self._adler)
            data = packer.compress(filtered)
            if start + count == lines:
                data += packer.flush(zlib.Z_FULL_FLUSH)
            if self._band == 0 and start == 0:
                data = b"\x78\x9c" + data
            if data:
                self._data.append(chunk(b"IDAT", data))


def _head(target: Target) -> bytes:
    """Everything before the pixels: that of a one-pixel picture with another size, and the EXIF."""
    pixel = np.zeros((1, 1, 3), np.float32)
    alpha = np.ones((1, 1), np.float32) if target.alpha else None
    small = encode_png(pixel, depth=16 if target.depth == 16 else 8, alpha=alpha, provenance=target.provenance)
    size = chunk(b"IHDR", struct.pack(">II", target.width, target.height) + small[24:29])
    exif = chunk(b"eXIf", target.exif) if target.exif else b""
    return small[:8] + size + small[33 : small.index(b"IDAT") - 4] + exif


def _filtered(rows: NDArray[np.uint8], before: NDArray[np.uint8] | None, pixel: int) -> NDArray[np.uint8]:
    """Lines with their filter byte in front: Sub or Up, whichever leaves the smaller differences (PNG, section 12.7).

    Without the line ``before`` the first one takes Sub: it must not depend on another run of blocks.
    """
    left = rows.copy()
    left[:, pixel:] -= rows[:, :-pixel]
    up = rows.copy()
    up[1:] -= rows[:-1]
    if before is not None:
        up[0] -= before
    costs = [np.abs(each.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for each in (left, up)]
    use_up = costs[1] < costs[0]
    if before is None:
        use_up[0] = False
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0] = np.where(use_up, 2, 1)
    out[:, 1:] = np.where(use_up[:, None], up, left)
    return out
