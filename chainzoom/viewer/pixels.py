"""Pixels that need no network: the photo's own at scales up to 1, and plain bicubic enlargement for comparison."""

from __future__ import annotations

import io
import math
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.images import clip, resize, to_uint8
from chainzoom.photos import Photo
from chainzoom.viewer.pyramid import Pyramid, TileBox

_BAND = 1024
_REACH = 3


def encode(image: NDArray[np.float32], alpha: NDArray[np.float32] | None = None) -> bytes:
    """(H, W, 3) in [0, 1], with (H, W) opacity if any, as a lossless PNG made quickly."""
    samples = image if alpha is None else np.concatenate((image, alpha[..., None]), axis=-1)
    return _png(PILImage.fromarray(to_uint8(samples)))


def _png(image: PILImage.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


class RealPixels:
    """One photo's own pixels by tile. The halved copies are made once, when the first small scale is asked for. Safe to share."""

    def __init__(self, photo: Photo) -> None:
        self.photo = photo
        self.pyramid = Pyramid(photo.width, photo.height)
        self._halved: list[PILImage.Image] = []
        self._lock = Lock()

    def tile(self, tile: TileBox) -> bytes:
        """A tile at a scale of at most 1, or of the bicubic enlargement above it, as PNG."""
        if tile.scale == 1:
            return self._exact(tile)
        if tile.scale > 1:
            return self._bicubic(tile)
        return _png(self._level(tile.scale).crop(tile.box))

    def thumbnail(self, side: int) -> bytes:
        """The whole photo within ``side`` x ``side``, as PNG."""
        scale = 1.0
        while scale > 2**-12 and max(self.photo.width, self.photo.height) * scale > 2 * side:
            scale /= 2
        whole = self._level(scale) if scale < 1 else self._image((0, 0, self.photo.width, self.photo.height))
        small = whole.copy()
        small.thumbnail((side, side), PILImage.Resampling.LANCZOS)
        return _png(small)

    def _exact(self, tile: TileBox) -> bytes:
        x0, y0, x1, y1 = (float(side) for side in tile.box)
        return encode(self.photo.read((x0, y0, x1, y1), tile.size), self.photo.read_alpha((x0, y0, x1, y1), tile.size))

    def _bicubic(self, tile: TileBox) -> bytes:
        x0, y0, x1, y1 = (side / tile.scale for side in tile.box)
        left, top = max(0, int(x0) - _REACH), max(0, int(y0) - _REACH)
        right, bottom = min(self.photo.width, int(x1) + 1 + _REACH), min(self.photo.height, int(y1) + 1 + _REACH)
        around = (float(left), float(top), float(right), float(bottom))
        size, inside = (right - left, bottom - top), (x0 - left, y0 - top, x1 - left, y1 - top)
        alpha = self.photo.read_alpha(around, size)
        image = clip(resize(self.photo.read(around, size), tile.size, "bicubic", inside))
        return encode(image, None if alpha is None else clip(resize(alpha, tile.size, "bicubic", inside)))

    def _level(self, scale: float) -> PILImage.Image:
        """The whole photo at 1/2, 1/4, ... of its size."""
        number = round(-math.log2(scale))
        with self._lock:
            if not self._halved:
                self._halved.append(self._half())
            while len(self._halved) < number:
                self._halved.append(self._halved[-1].reduce(2))
            return self._halved[number - 1]

    def _half(self) -> PILImage.Image:
        width, height = self.photo.width, self.photo.height
        out = PILImage.new("RGBA" if self.photo.has_alpha else "RGB", (-(-width // 2), -(-height // 2)))
        for top in range(0, height, _BAND):
            box = (0, top, width, min(height, top + _BAND))
            out.paste(self._image(box, 2), (0, top // 2))
        return out

    def _image(self, box: tuple[int, int, int, int], shrink: int = 1) -> PILImage.Image:
        x0, y0, x1, y1 = box
        region, size = (float(x0), float(y0), float(x1), float(y1)), (-(-(x1 - x0) // shrink), -(-(y1 - y0) // shrink))
        samples = to_uint8(self.photo.read(region, size, "box" if shrink > 1 else "lanczos"))
        alpha = self.photo.read_alpha(region, size)
        if alpha is not None:
            samples = np.concatenate((samples, to_uint8(alpha)[..., None]), axis=-1)
        return PILImage.fromarray(samples)
