"""A Deep Zoom folder: NAME.dzi and NAME_files/LEVEL/COLUMN_ROW.png, the pyramid that map viewers such as OpenSeadragon read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.atomic import write_bytes
from chainzoom.full.journal import Journal
from chainzoom.full.writers import TILE, Target, disk, entries
from chainzoom.images import Image, from_uint, resize
from chainzoom.pictures import write_png

MAX_SIDE = 2**31 - 1
_NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"


class DeepZoomWriter:
    """See writers.Writer. Tiles are PNG of 8 bits without overlap; the coarser levels are halved from the finer ones at the end."""

    def __init__(self, folder: Path, target: Target, journal: Journal) -> None:
        self._folder, self._target, self._journal = folder / "files", target, journal
        self._top = max(1, (max(target.width, target.height) - 1).bit_length())
        noted = {int(entry["tile"]) for entry in entries(journal, "tile")}
        self.done = {number for number in noted if self._path(self._top, *reversed(divmod(number, target.grid[0]))).exists()}
        with disk(self._folder):
            (self._folder / str(self._top)).mkdir(parents=True, exist_ok=True)

    def write(self, number: int, image: Image, alpha: NDArray[np.float32] | None) -> None:
        """See writers.Writer."""
        row, column = divmod(number, self._target.grid[0])
        self._put(self._top, column, row, image, alpha)
        self.done.add(number)
        self._journal.append({"tile": number})

    def finish(self, out: Path) -> None:
        """See writers.Writer."""
        self._journal.flush()
        for level in range(self._top - 1, -1, -1):
            with disk(self._folder):
                (self._folder / str(level)).mkdir(exist_ok=True)
            width, height = self._size(level)
            for row in range(-(-height // TILE)):
                for column in range(-(-width // TILE)):
                    if not self._path(level, column, row).exists():
                        self._put(level, column, row, *self._halved(level, column, row))
        target = self._target
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Image xmlns="{_NAMESPACE}" Format="png" Overlap="0" TileSize="{TILE}">\n'
            f'  <Size Width="{target.width}" Height="{target.height}"/>\n</Image>\n'
        )
        files = tiles_folder(out)
        with disk(files):
            if files.exists():
                shutil.rmtree(files)
            self._folder.replace(files)
        write_bytes(out, text.encode())

    def close(self) -> None:
        """See writers.Writer."""
        self._journal.close()

    def _size(self, level: int) -> tuple[int, int]:
        shrink = 2 ** (self._top - level)
        return -(-self._target.width // shrink), -(-self._target.height // shrink)

    def _path(self, level: int, column: int, row: int) -> Path:
        return self._folder / str(level) / f"{column}_{row}.png"

    def _put(self, level: int, column: int, row: int, image: Image, alpha: NDArray[np.float32] | None) -> None:
        shrink = 2 ** (self._top - level)
        scale = self._target.provenance.scale / shrink
        x, y = column * TILE, row * TILE
        region = (x / scale, y / scale, (x + image.shape[1]) / scale, (y + image.shape[0]) / scale)
        facts = replace(self._target.provenance, scale=scale, region=region, synthesised=self._target.provenance.synthesised and scale > 1)
        write_png(self._path(level, column, row), image, alpha=alpha, provenance=facts)

    def _halved(self, level: int, column: int, row: int) -> tuple[Image, NDArray[np.float32] | None]:
        """A tile from the (at most) four below it; an odd last line is repeated."""
        width, height = self._size(level + 1)
        parts = []
        for y in (2 * row, 2 * row + 1):
            line = [self._load(level + 1, x, y) for x in (2 * column, 2 * column + 1) if x * TILE < width and y * TILE < height]
            parts += [np.concatenate(line, axis=1)] if line else []
        whole = np.concatenate(parts)
        whole = np.pad(whole, ((0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)), mode="edge")
        half = resize(from_uint(whole), (whole.shape[1] // 2, whole.shape[0] // 2), "box")
        return half[..., :3], half[..., 3] if half.shape[2] == 4 else None

    def _load(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        with disk(self._path(level, column, row)), PILImage.open(self._path(level, column, row)) as image:
            return np.asarray(image)


def tiles_folder(out: Path) -> Path:
    """Where the tiles of NAME.dzi lie: NAME_files beside it."""
    return out.with_name(f"{out.stem}_files")
