"""What every output format has in common: tiles go in, in any order within a row of tiles, and are on disk when the journal says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from chainzoom.atomic import output_error
from chainzoom.full.journal import Journal
from chainzoom.images import Image, to_uint8, to_uint16
from chainzoom.provenance import Provenance

TILE = 512
Samples = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Target:
    """The picture to write: pixels, bits per channel (8 or 16), whether it has alpha, what it says of itself, and EXIF to carry over."""

    width: int
    height: int
    depth: int
    alpha: bool
    provenance: Provenance
    exif: bytes = b""

    @property
    def channels(self) -> int:
        """3, or 4 with alpha."""
        return 4 if self.alpha else 3

    @property
    def raw_bytes(self) -> int:
        """Size without compression."""
        return self.width * self.height * self.channels * self.depth // 8

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of tiles."""
        return -(-self.width // TILE), -(-self.height // TILE)

    def box(self, number: int) -> tuple[int, int, int, int]:
        """The pixels of a tile; tiles are numbered row by row."""
        row, column = divmod(number, self.grid[0])
        x, y = column * TILE, row * TILE
        return x, y, min(x + TILE, self.width), min(y + TILE, self.height)


class Writer(Protocol):
    """A picture file in the making."""

    done: set[int]
    """Numbers of the tiles that need not be made (again)."""

    def write(self, number: int, image: Image, alpha: NDArray[np.float32] | None) -> None:
        """Take tile ``number``: (h, w, 3) and (h, w) in [0, 1], as large as ``Target.box`` says."""
        ...

    def finish(self, out: Path) -> None:
        """Complete the picture and move it to ``out``, over what is there."""
        ...

    def close(self) -> None:
        """Leave everything so that another writer can go on."""
        ...


def samples(image: Image, alpha: NDArray[np.float32] | None, depth: int) -> Samples:
    """Rounded integers, (h, w, 3 or 4)."""
    whole = image if alpha is None else np.concatenate((image, alpha[..., None]), axis=-1)
    return to_uint8(whole) if depth == 8 else to_uint16(whole)


def srgb_profile() -> bytes:
    """An ICC profile for sRGB; its date is set, so that the same picture has the same bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes.fromhex("07e800010001000000000000")
    profile[84:100] = bytes(16)
    return bytes(profile)


class DataFile:
    """A file that grows at its end and can be cut back to what a journal vouches for."""

    def __init__(self, path: Path, end: int) -> None:
        self.path = path
        with disk(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(end)
        self.end = end

    def append(self, data: bytes) -> int:
        """Write at the end; returns where."""
        start = self.end
        self.put(start, data)
        self.end = start + len(data)
        return start

    def put(self, offset: int, data: bytes) -> None:
        """Write anywhere."""
        with disk(self.path):
            self._file.seek(offset)
            self._file.write(data)

    def get(self, offset: int, count: int) -> bytes:
        """Read back."""
        with disk(self.path):
            self._file.seek(offset)
            return self._file.read(count)

    def sync(self) -> None:
        """Bring everything to the disk."""
        if self._file.closed:
            return
        with disk(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """OSError as OutputError."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def entries(journal: Journal, key: str) -> list[dict[str, Any]]:
    """The journal's entries that have ``key``."""
    return [entry for entry in journal.entries if key in entry]
