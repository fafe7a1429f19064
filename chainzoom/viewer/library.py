"""Which photos there are: those of one folder and those that were uploaded. Requests name them by id; no request holds a path."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from chainzoom.errors import ImageError, OptionError
from chainzoom.photos import Photo
from chainzoom.viewer.pixels import RealPixels

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".gif", ".heic", ".heif"})
_MOST, _DEEPEST, _OPEN = 2000, 4, 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo that can be opened. ``id`` depends on its name (uploads: on its bytes), so that links stay good."""

    id: str
    name: str
    path: Path
    uploaded: bool = False


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """``each`` bytes and ``pixels`` for one photo, ``total`` bytes for all uploads together (the oldest leave)."""

    each: int = 64 << 20
    pixels: int = 100_000_000
    total: int = 1 << 30


class Library:
    """The photos below ``root`` (a file or a folder; None: none) and the uploads in ``uploads``. Safe to share between threads."""

    def __init__(self, root: Path | None, uploads: Path, limits: UploadLimits | None = None) -> None:
        self.limits = limits or UploadLimits()
        self._root = root.resolve() if root is not None else None
        self._uploads = uploads
        uploads.mkdir(parents=True, exist_ok=True)
        for part in uploads.glob(".*.part"):
            part.unlink(missing_ok=True)
        self._entries: dict[str, Entry] = {}
        self._open: OrderedDict[str, RealPixels] = OrderedDict()
        self._lock = Lock()
        self._opening = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders again."""
        found: list[Entry] = []
        if self._root is not None:
            paths = [self._root] if self._root.is_file() else _pictures(self._root)
            base = self._root.parent if self._root.is_file() else self._root
            found = [Entry(_id("library", str(path.relative_to(base))), str(path.relative_to(base)), path) for path in paths]
        for path in sorted(self._uploads.glob("*.*"), key=lambda path: path.name):
            digest, _, name = path.name.partition("-")
            if name and not path.name.startswith("."):
                found.append(Entry(_id("upload", digest), name, path, True))
        with self._lock:
            self._entries = {entry.id: entry for entry in found}

    def entries(self) -> list[Entry]:
        """All photos, in the order of their names; uploads last."""
        with self._lock:
            return list(self._entries.values())

    def entry(self, photo: str) -> Entry:
        """A photo by id. Raises OptionError for an unknown one."""
        with self._lock:
            if photo not in self._entries:
                raise OptionError(f"there is no photo {photo[:40]!r} here")
            return self._entries[photo]

    def pixels(self, photo: str) -> RealPixels:
        """A photo's pixels; the last few photos stay open. Raises OptionError and ImageError."""
        entry = self.entry(photo)
        with self._opening:
            if photo not in self._open:
                self._open[photo] = RealPixels(Photo.open(entry.path))
            self._open.move_to_end(photo)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
            return self._open[photo]

    def receive(self) -> Upload:
        """Begin an upload."""
        return Upload(self._uploads, self.limits)

    def accept(self, upload: Upload, name: str) -> Entry:
        """Check a finished upload and put it among the photos. Raises ImageError for what is no picture or too large."""
        try:
            with upload.close() as path:
                Photo.open(path, max_pixels=self.limits.pixels)
                target = self._uploads / f"{upload.digest}-{_plain(name)}"
                for old in self._uploads.glob(f"{upload.digest}-*"):
                    old.unlink(missing_ok=True)
                path.replace(target)
        except ImageError as error:
            # The message names the temporary file, which means nothing to the sender.
            raise ImageError(str(error).replace(str(upload.path), _plain(name))) from None
        self._trim(target)
        self.refresh()
        return self.entry(_id("upload", upload.digest))

    def _trim(self, keep: Path) -> None:
        files = sorted(self._uploads.glob("*-*"), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total <= self.limits.total or path == keep:
                continue
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


class Upload:
    """Bytes that arrive; ``write`` raises ImageError as soon as they are too many. Leaves nothing behind unless it is accepted."""

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.path = folder / f".{secrets.token_hex(8)}.part"
        self._limit, self._bytes = limits.each, 0
        self._hash = hashlib.sha256()
        self._file = self.path.open("xb")

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._bytes += len(data)
        if self._bytes > self._limit:
            raise ImageError(f"a photo may have {self._limit >> 20} MiB at most; this one has more")
        self._hash.update(data)
        self._file.write(data)

    @property
    def digest(self) -> str:
        """Start of the hash of the bytes."""
        return self._hash.hexdigest()[:32]

    def close(self) -> Upload:
        """No more bytes."""
        self._file.close()
        return self

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Forget what came."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _id(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}:{name}".encode(errors="surrogateescape")).hexdigest()[:16]


def _plain(name: str) -> str:
    """A file name from a stranger, made harmless: letters, digits and a few marks, and nothing that means something to a file system."""
    kept = "".join(c if c.isalnum() or c in "._ -" else "_" for c in name.replace("\\", "/").rsplit("/", 1)[-1])
    stem, dot, suffix = kept.strip(". ").rpartition(".")
    short = stem.encode()[:80].decode(errors="ignore") if dot else ""
    return (
        f"{short or kept.strip('. ').encode()[:80].decode(errors='ignore') or 'photo'}{dot if short else ''}{suffix[:8] if short else ''}"
    )


def _pictures(root: Path) -> list[Path]:
    """Picture files below a folder; links that lead out of it are left out."""
    found: list[Path] = []
    for folder, inner, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if depth < _DEEPEST else []
        for name in sorted(files):
            path = Path(folder) / name
            with suppress(OSError):
                if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.resolve().is_relative_to(root):
                    found.append(path)
        if len(found) >= _MOST:
            return found[:_MOST]
    return found
