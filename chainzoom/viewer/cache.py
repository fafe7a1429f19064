"""Tiles on disk: bounded, the least recently used leave first, and what is there survives a restart."""

from __future__ import annotations

import os
import re
import shutil
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

from chainzoom.atomic import output_error
from chainzoom.errors import OutputError

_NAME = re.compile(r"[0-9a-z]{1,64}/[0-9a-z_]{1,64}\.png")


class TileCache:
    """Bytes by name (``identity/level_column_row``) in a folder, at most ``limit`` bytes of them. Safe to share between threads."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self.hits = self.misses = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob("*/*.part"):
                part.unlink(missing_ok=True)
            found = [(path.stat(), path) for path in folder.glob("*/*.png")]
        except OSError as error:
            raise output_error(folder, error) from error
        for stat, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
            self._note(f"{path.parent.name}/{path.stem}", stat.st_size)
        self._trim()

    @property
    def used(self) -> int:
        """Bytes on disk now."""
        return self._bytes

    def get(self, name: str) -> bytes | None:
        """What was put under a name, or None."""
        with self._lock:
            if name not in self._sizes:
                self.misses += 1
                return None
            self._sizes.move_to_end(name)
        path = self._path(name)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            data = b""
        if not data.startswith(b"\x89PNG") or not data.endswith(b"IEND\xaeB`\x82"):
            self._drop(name)
            return None
        self.hits += 1
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name; a full disk costs the keeping, not the tile."""
        path = self._path(name)
        part = path.with_suffix(f".{os.getpid()}.part")
        with self._lock, suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(data)  # a tile that is lost is made again, so nothing is synced
            part.replace(path)
            self._note(name, len(data))
            self._trim()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(f"{name}.png"):
            raise OutputError(f"a tile's name is identity/level_column_row; got {name!r}")
        return self._folder / f"{name}.png"

    def _note(self, name: str, size: int) -> None:
        self._bytes += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def _drop(self, name: str) -> None:
        with self._lock:
            self._bytes -= self._sizes.pop(name, 0)
            self._path(name).unlink(missing_ok=True)

    def _trim(self) -> None:
        while self._bytes > self._limit and self._sizes:
            name, size = self._sizes.popitem(last=False)
            self._bytes -= size
            self._path(name).unlink(missing_ok=True)


def trim_folders(parent: Path, limit: int, keep: Path | None = None) -> None:
    """Remove whole sub-folders, the longest unused first, until at most ``limit`` bytes are left below ``parent``."""
    with suppress(OSError):
        folders = [path for path in parent.iterdir() if path.is_dir()]
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
        for folder in sorted(folders, key=lambda path: path.stat().st_mtime_ns):
            if sum(sizes.values()) <= limit:
                return
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
                del sizes[folder]
