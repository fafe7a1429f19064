"""Windows that were made: the recent ones in memory, the others on disk if a folder is given, both bounded.

Pixels are kept at 16 bits, and that is what a window is: one that was kept and one made again are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from chainzoom.atomic import atomic_path, output_error, remove_leftovers
from chainzoom.windows.grid import Index

Pixels = NDArray[np.uint16]


class WindowCache:
    """Window pixels by name.

    memory   bytes kept in memory
    folder   where windows go that memory has no room for, as ``LEVEL_ROW_COLUMN.npy``; None drops them. Files found there are used: the
             folder must belong to one ``Planes.identity``
    disk     bytes kept on disk; None: no limit (whoever runs a job removes what is done with ``forget_above``)
    """

    def __init__(self, memory: int = 256 << 20, folder: Path | None = None, disk: int | None = None) -> None:
        self._memory, self._folder, self._disk = memory, folder, disk
        self._kept: OrderedDict[Index, Pixels] = OrderedDict()
        self._files: OrderedDict[Index, int] = OrderedDict()
        self._bytes = self._file_bytes = 0
        self._lock = RLock()
        if folder is not None:
            self.spill_to(folder)

    def spill_to(self, folder: Path) -> None:
        """From now on keep on disk what memory has no room for, and use what is there; for a cache that was made without a folder."""
        with self._lock:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                remove_leftovers(folder)
                found = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime)
                self._folder = folder
                for path in found:
                    with suppress(ValueError):
                        level, row, column = (int(part) for part in path.stem.split("_"))
                        self._note(Index(level, row, column), path.stat().st_size)
            except OSError as error:
                raise output_error(folder, error) from error

    def __contains__(self, index: Index) -> bool:
        with self._lock:
            return index in self._kept or index in self._files

    def get(self, index: Index, shape: tuple[int, int] | None = None) -> Pixels | None:
        """The window's pixels, or None when they must be made; a file that is not of ``shape`` (height, width), if given, is removed."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            if index not in self._files:
                return None
            self._files.move_to_end(index)
            pixels = self._load(index)
            if pixels is None or (shape is not None and pixels.shape[:2] != shape):
                self._forget(index)
                return None
            self._remember(index, pixels)
            return pixels

    def put(self, index: Index, pixels: Pixels) -> None:
        """Keep a window. Raises OutputError when the disk cannot take one that memory has no room for."""
        with self._lock:
            pixels.flags.writeable = False
            self._remember(index, pixels)

    def forget_above(self, level: int, row: int) -> None:
        """Drop the windows of a level above a row: a sweep from top to bottom needs them no more."""
        with self._lock:
            for index in [key for key in self._kept if key.level == level and key.row < row]:
                self._bytes -= self._kept.pop(index).nbytes
            for index in [key for key in self._files if key.level == level and key.row < row]:
                self._forget(index)

    def _remember(self, index: Index, pixels: Pixels) -> None:
        if index not in self._kept:
            self._kept[index] = pixels
            self._bytes += pixels.nbytes
        while self._bytes > self._memory and len(self._kept) > 1:
            old, leaving = self._kept.popitem(last=False)
            self._bytes -= leaving.nbytes
            if self._folder is not None and old not in self._files:
                self._save(old, leaving)

    def _path(self, index: Index) -> Path:
        assert self._folder is not None
        return self._folder / f"{index.level}_{index.row}_{index.column}.npy"

    def _save(self, index: Index, pixels: Pixels) -> None:
        path = self._path(index)
        try:
            with atomic_path(path) as part:
                np.save(part, pixels)
        except OSError as error:
            raise output_error(path, error) from error
        self._note(index, pixels.nbytes)
        while self._disk is not None and self._file_bytes > self._disk and len(self._files) > 1:
            self._forget(next(iter(self._files)))

    def _load(self, index: Index) -> Pixels | None:
        with suppress(OSError, ValueError, EOFError):
            pixels: Pixels = np.load(self._path(index), allow_pickle=False)
            if pixels.dtype == np.uint16 and pixels.ndim == 3 and pixels.shape[2] == 3:
                pixels.flags.writeable = False
                return pixels
        return None

    def _note(self, index: Index, size: int) -> None:
        self._file_bytes += size - self._files.get(index, 0)
        self._files[index] = size

    def _forget(self, index: Index) -> None:
        self._file_bytes -= self._files.pop(index)
        self._path(index).unlink(missing_ok=True)
