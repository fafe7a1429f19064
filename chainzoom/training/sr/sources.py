"""Pictures by number, wherever they are: folders, text lists, and webdataset shards (tar files, read at random through their index)."""

from __future__ import annotations

import glob
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageOps

from chainzoom.errors import ImageError, OptionError
from chainzoom.images import Image, from_uint, resize
from chainzoom.training.sr.config import Source

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: a file, or ``size`` bytes at ``offset`` of a tar file. ``name`` tells it apart; ``words`` is where its caption is."""

    name: str
    path: Path
    offset: int = 0
    size: int = 0
    words: tuple[Path, int, int] | None = None
    resize: int = 0

    def read(self) -> Image:
        """The upright picture (H, W, 3) in [0, 1]. Raises ImageError."""
        try:
            with PILImage.open(io.BytesIO(self._bytes(self.path, self.offset, self.size))) as file:
                pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError) as error:
            raise ImageError(f"{self.name} is no readable picture ({error}); remove it") from error
        image = from_uint(pixels)
        return enlarged(image, self.resize, exact=True) if self.resize else image

    def caption(self) -> str:
        """The words beside the picture; empty without any."""
        return self._bytes(*self.words).decode("utf-8", errors="replace").strip() if self.words else ""

    @staticmethod
    def _bytes(path: Path, offset: int, size: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size) if size else file.read()


def enlarged(image: Image, side: int, *, exact: bool = False) -> Image:
    """The picture with a shorter side of at least (``exact``: of just) ``side`` pixels."""
    height, width = image.shape[:2]
    short = min(height, width)
    if short == side or (short > side and not exact):
        return image
    size = (max(side, round(width * side / short)), max(side, round(height * side / short)))
    return np.clip(resize(image, size, "lanczos"), 0, 1)


def list_pictures(sources: Sequence[Source]) -> list[Entry]:
    """Every picture of the sources, in a fixed order. Raises OptionError for a source that is missing or empty."""
    found: list[Entry] = []
    for source in sources:
        entries = _list(source)
        if not entries:
            raise OptionError(f"{source.path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        found += entries[: source.limit] if source.limit > 0 else entries
    return found


def _list(source: Source) -> list[Entry]:
    path = Path(source.path)
    if source.path.endswith(".tar"):
        shards = sorted(glob.glob(source.path)) if glob.has_magic(source.path) else [source.path]  # noqa: PTH207 - an absolute pattern
        return [entry for shard in shards for entry in _shard(Path(shard), source)]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        return [_file(file, file.relative_to(path).as_posix(), source) for file in files]
    if path.is_file():
        root = Path(source.root) if source.root else path.parent
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        files = [root / line for line in lines if line and not line.startswith("#")]
        for file in files:
            if not file.is_file():
                raise OptionError(f"{path} lists {file}, which is not there; set root to the folder that the list speaks of")
        return [_file(file, file.as_posix(), source) for file in files]
    raise OptionError(f"the source {path} is not there; give a folder, a text list or webdataset shards (.tar)")


def _file(file: Path, name: str, source: Source) -> Entry:
    words = file.with_suffix(".txt")
    return Entry(name, file, words=(words, 0, 0) if words.is_file() else None, resize=source.resize)


def _shard(path: Path, source: Source) -> list[Entry]:
    """The pictures of an uncompressed tar; ``KEY.txt`` beside ``KEY.jpg`` is its caption (the webdataset convention)."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise OptionError(f"{path} is no uncompressed tar file ({error}); webdataset shards are read at random and must be local") from None
    words = {_key(m.name): (path, m.offset_data, m.size) for m in members if m.name.endswith(".txt") and m.size}
    pictures = [member for member in members if Path(member.name).suffix.lower() in SUFFIXES]
    return [Entry(f"{path.name}/{m.name}", path, m.offset_data, m.size, words.get(_key(m.name)), source.resize) for m in pictures]


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"
