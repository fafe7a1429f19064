"""BigTIFF (TIFF with 64-bit offsets; TIFF 6.0 and the BigTIFF proposal): Deflate-compressed tiles in the order they come."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.full.exif import Entry, directories
from chainzoom.full.journal import Journal
from chainzoom.full.writers import TILE, DataFile, Samples, Target, disk, entries, samples, srgb_profile
from chainzoom.images import Image
from chainzoom.provenance import sentence, xmp

MAX_SIDE = 2**31 - 1
_HEADER = 16
_LEVEL = 6
_ASCII, _SHORT, _LONG, _UNDEFINED, _LONG8 = 2, 3, 4, 7, 16
_DESCRIPTION, _SOFTWARE, _EXIF, _GPS = 270, 305, 34665, 34853


class BigTiffWriter:
    """See writers.Writer. Tiles of 512 x 512 with the horizontal predictor; the directory comes last."""

    def __init__(self, folder: Path, target: Target, journal: Journal) -> None:
        self._target, self._journal = target, journal
        path = folder / "data.tif"
        there = path.stat().st_size if path.exists() else 0
        noted = {int(entry["tile"]): (int(entry["at"]), int(entry["size"])) for entry in entries(journal, "tile")}
        self._places = {number: (at, size) for number, (at, size) in noted.items() if at + size <= there}
        end = max((at + size for at, size in self._places.values()), default=_HEADER)
        self._data = DataFile(path, end)
        self.done = set(self._places)
        journal.sync = self._data.sync

    def write(self, number: int, image: Image, alpha: NDArray[np.float32] | None) -> None:
        """See writers.Writer."""
        packed = zlib.compress(_predicted(samples(image, alpha, self._target.depth)), _LEVEL)
        at = self._data.append(packed)
        self._places[number] = (at, len(packed))
        self._journal.append({"tile": number, "at": at, "size": len(packed)})
        self.done.add(number)

    def finish(self, out: Path) -> None:
        """See writers.Writer."""
        self._journal.flush()
        try:
            main, details, place = directories(self._target.exif)
        except (ValueError, struct.error):
            main, details, place = [], [], []
        own = self._entries()
        kept = {entry.tag: entry for entry in [*own, *(entry for entry in main if entry.tag != _SOFTWARE)]}
        for pointer, inner in ((_EXIF, details), (_GPS, place)):
            if inner:
                kept[pointer] = _numbers(pointer, _LONG8, [self._directory(inner)])
        first = self._directory(list(kept.values()))
        self._data.put(0, struct.pack("<2sHHHQ", b"II", 43, 8, 0, first))
        self._data.sync()
        self._data.close()
        with disk(out):
            self._data.path.replace(out)

    def close(self) -> None:
        """See writers.Writer."""
        self._journal.close()
        self._data.close()

    def _entries(self) -> list[Entry]:
        target = self._target
        places = [self._places[number] for number in range(target.grid[0] * target.grid[1])]
        packet, profile = xmp(target.provenance).encode(), srgb_profile()
        return [
            _numbers(256, _LONG, [target.width]),
            _numbers(257, _LONG, [target.height]),
            _numbers(258, _SHORT, [target.depth] * target.channels),
            _numbers(259, _SHORT, [8]),  # Deflate
            _numbers(262, _SHORT, [2]),  # RGB
            _text(_DESCRIPTION, sentence(target.provenance)),
            _numbers(277, _SHORT, [target.channels]),
            _numbers(284, _SHORT, [1]),  # interleaved
            _text(_SOFTWARE, target.provenance.software),
            _numbers(317, _SHORT, [2]),  # horizontal predictor
            _numbers(322, _LONG, [TILE]),
            _numbers(323, _LONG, [TILE]),
            _numbers(324, _LONG8, [at for at, _ in places]),
            _numbers(325, _LONG8, [size for _, size in places]),
            *([_numbers(338, _SHORT, [2])] if target.alpha else []),  # straight alpha
            Entry(700, 1, len(packet), packet),
            Entry(34675, _UNDEFINED, len(profile), profile),
        ]

    def _directory(self, found: list[Entry]) -> int:
        """Append a directory with its values; returns where it is."""
        rows = []
        for entry in sorted(found, key=lambda entry: entry.tag):
            inline = entry.data.ljust(8, b"\0") if len(entry.data) <= 8 else struct.pack("<Q", self._aligned(entry.data))
            rows.append(struct.pack("<HHQ", entry.tag, entry.kind, entry.count) + inline)
        return self._aligned(struct.pack("<Q", len(rows)) + b"".join(rows) + struct.pack("<Q", 0))

    def _aligned(self, data: bytes) -> int:
        self._data.append(bytes(-self._data.end % 8))
        return self._data.append(data)


def _numbers(tag: int, kind: int, values: list[int]) -> Entry:
    return Entry(tag, kind, len(values), struct.pack(f"<{len(values)}{ {_SHORT: 'H', _LONG: 'I', _LONG8: 'Q'}[kind] }", *values))


def _text(tag: int, text: str) -> Entry:
    data = text.encode("ascii", "replace") + b"\0"
    return Entry(tag, _ASCII, len(data), data)


def _predicted(tile: Samples) -> bytes:
    """A tile filled up to its full size, each sample less the one before it in its row (modulo), little-endian."""
    filled: NDArray[Any] = np.pad(tile, ((0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0)), mode="edge")
    filled[:, 1:] = np.diff(filled, axis=1)
    return np.ascontiguousarray(filled, dtype=filled.dtype.newbyteorder("<")).tobytes()
