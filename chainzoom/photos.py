"""Photos: opened once, read by regions.

A photo's pixels stay in memory as they are stored (8 bits, 16 for deep ones). Every read crops first and converts, turns and resamples
only what it needs, in bands, so a 100-megapixel photo never exists in float32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import OptionError
from chainzoom.icc import Conversion, Space, conversion
from chainzoom.images import Image, Kernel, clip, from_uint, resize
from chainzoom.photo_decode import Decoded, decode

_BAND_PIXELS = 1 << 20
_SUPPORT: dict[Kernel, float] = {"nearest": 1.0, "box": 0.5, "bicubic": 2.0, "lanczos": 3.0}
_TURNS = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
_SPACES: dict[str, Space] = {"1": "grey", "L": "grey", "LA": "grey", "La": "grey", "CMYK": "cmyk", "LAB": "lab"}
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, upright and in sRGB, that is read by regions; make one with :meth:`open`.

    path, sha256      the file and the hash of its bytes
    width, height     pixels, after EXIF orientation
    bits              8 or 16 per channel
    has_alpha         whether :meth:`read_alpha` gives something
    icc_profile_name  description of the embedded profile, or None
    notes             what was done to the pixels or could not be done, e.g. "EXIF orientation 6 applied"
    """

    path: Path
    sha256: str
    width: int
    height: int
    bits: int
    has_alpha: bool
    icc_profile_name: str | None
    notes: tuple[str, ...]
    _pixels: Decoded = field(repr=False)
    _colours: Conversion = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, max_pixels: int = 500_000_000, min_side: int = 16) -> Photo:
        """Decode a JPEG, PNG, TIFF, WebP, AVIF, BMP, GIF or (extra ``heic``) HEIC file whole, so that damage shows now.

        ``max_pixels`` is checked from the header, before anything is decoded. Raises ImageError for what cannot be used and
        MissingExtraError for HEIC without its extra.
        """
        path = Path(path)
        pixels = decode(path, max_pixels=max_pixels, min_side=min_side)
        colours = conversion(pixels.icc, _space(pixels))
        width, height = pixels.high.size if pixels.orientation < 5 else pixels.high.size[::-1]
        bits = 8 if pixels.layout == "plain" else 16
        lossy = bits == 16 and colours.bytes8 is not None and colours.floats is None
        notes = (*pixels.notes, *colours.notes, *(("16-bit pixels went through an 8-bit colour conversion",) if lossy else ()))
        return cls(path, pixels.sha256, width, height, bits, _has_alpha(pixels), colours.name, notes, pixels, colours)

    def read(self, region: tuple[float, float, float, float], size: tuple[int, int], kernel: Kernel = "lanczos") -> Image:
        """A region of the upright photo as (height, width, 3) in [0, 1], for ``size`` = (width, height).

        The region is (x0, y0, x1, y1) in source pixels, fractions allowed, within 1e-6 of the photo. Whole pixels at their own size come
        back exactly (v/255 or v/65535 where no profile is converted). Shrinking antialiases, and the kernel sees the pixels around the
        region. Colour is not weighted by alpha. Raises OptionError for a region outside the photo.
        """
        return self._read(region, size, kernel, alpha=False)

    def read_alpha(self, region: tuple[float, float, float, float], size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Opacity of a region by Lanczos, (height, width) in [0, 1]; None for a photo without alpha. Raises as :meth:`read`."""
        return self._read(region, size, "lanczos", alpha=True) if self.has_alpha else None

    def _read(
        self, region: tuple[float, float, float, float], size: tuple[int, int], kernel: Kernel, *, alpha: bool
    ) -> NDArray[np.float32]:
        x0, y0, x1, y1 = self._checked(region, size, kernel)
        trailing = () if alpha else (3,)
        if (x0, y0, x1, y1) == (int(x0), int(y0), int(x0) + size[0], int(y0) + size[1]):
            exact = np.empty((size[1], size[0], *trailing), np.float32)
            for top, band in self._bands((int(x0), int(y0), int(x1), int(y1)), alpha):
                exact[top : top + len(band)] = band
            return exact
        cx0, cx1 = _with_context(x0, x1, size[0], _SUPPORT[kernel], self.width)
        cy0, cy1 = _with_context(y0, y1, size[1], _SUPPORT[kernel], self.height)
        # Pillow resamples rows, then columns; rows do not depend on each other, so doing them in bands changes no bit.
        narrow = np.empty((cy1 - cy0, size[0], *trailing), np.float32)
        for top, band in self._bands((cx0, cy0, cx1, cy1), alpha):
            narrow[top : top + len(band)] = resize(band, (size[0], len(band)), kernel, (x0 - cx0, 0, x1 - cx0, len(band)))
        return clip(resize(narrow, size, kernel, (0, y0 - cy0, size[0], y1 - cy0)))

    def _checked(self, region: tuple[float, float, float, float], size: tuple[int, int], kernel: Kernel) -> tuple[float, ...]:
        if kernel not in _SUPPORT:
            raise OptionError(f"kernel must be one of {', '.join(_SUPPORT)}; got {kernel!r}")
        if len(size) != 2 or any(int(s) != s or s < 1 for s in size):
            raise OptionError(f"size must be two whole numbers >= 1 (width, height); got {size}")
        limits, slack = (self.width, self.height), 1e-6
        inside = len(region) == 4 and all(-slack <= v <= limits[i % 2] + slack for i, v in enumerate(region))
        if not inside or region[2] - region[0] < 1e-4 or region[3] - region[1] < 1e-4:
            raise OptionError(f"region must be (x0, y0, x1, y1), not empty and inside {self.width} x {self.height} pixels; got {region}")
        return tuple(min(max(float(v), 0.0), float(limits[i % 2])) for i, v in enumerate(region))

    def _bands(self, box: Box, alpha: bool) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(first row, pixels) of bands that make up an upright box of whole pixels, from its top."""
        x0, y0, x1, y1 = box
        rows = max(1, _BAND_PIXELS // (x1 - x0))
        for top in range(y0, y1, rows):
            yield top - y0, self._samples((x0, top, x1, min(top + rows, y1)), alpha)

    def _samples(self, box: Box, alpha: bool) -> NDArray[np.float32]:
        """Upright, converted pixels of a box: (h, w, 3), or (h, w) for alpha."""
        high = self._turned(self._pixels.high, box)
        if self._pixels.layout == "plain":
            return _plain_alpha(high) if alpha else self._plain_colour(high)
        low = None if self._pixels.low is None else self._turned(self._pixels.low, box)
        colour, opacity = _deep(self._pixels, np.asarray(high), None if low is None else np.asarray(low))
        if alpha:
            return opacity
        if self._colours.bytes8 is None:
            return colour
        if self._colours.floats is not None:
            return self._colours.floats(colour)
        return self._plain_colour(PILImage.fromarray(np.rint(colour * np.float32(255)).astype(np.uint8)))

    def _plain_colour(self, image: PILImage.Image) -> Image:
        if image.mode == "La":
            image = image.convert("LA")
        if image.mode not in ("CMYK", "LAB"):
            if image.info.get("transparency") is not None:
                image = image.convert("RGBA")  # palettes with transparency go to RGB only this way
            image = image.convert("L" if self._colours.space == "grey" and self._colours.bytes8 else "RGB")
        if self._colours.bytes8:
            image = self._colours.bytes8(image)
        return from_uint(np.asarray(image.convert("RGB")))

    def _turned(self, image: PILImage.Image, box: Box) -> PILImage.Image:
        """Crop an upright box out of a stored picture and turn the crop upright."""
        orientation = self._pixels.orientation
        crop = image.crop(_stored_box(box, image.size, orientation))
        return crop.transpose(_TURNS[orientation]) if orientation > 1 else crop


def _with_context(start: float, stop: float, count: int, support: float, limit: int) -> tuple[int, int]:
    """Whole pixels that a kernel of this support may touch, within the photo."""
    margin = math.ceil(support * max((stop - start) / count, 1.0)) + 1
    return max(0, math.floor(start) - margin), min(limit, math.ceil(stop) + margin)


def _stored_box(box: Box, stored: tuple[int, int], orientation: int) -> Box:
    """Where an upright box lies in the stored picture (EXIF 2.32, tag 274)."""
    x0, y0, x1, y1 = box
    if orientation >= 5:
        x0, y0, x1, y1 = y0, x0, y1, x1
    width, height = stored
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return x0, y0, x1, y1


def _space(pixels: Decoded) -> Space:
    if pixels.layout != "plain":
        return "rgb" if pixels.layout == "pair" else "grey"
    return _SPACES.get(pixels.high.mode, "rgb")


def _has_alpha(pixels: Decoded) -> bool:
    if pixels.layout == "plain":
        return pixels.high.has_transparency_data
    return pixels.layout == "greyalpha16" or pixels.high.mode == "RGBA" or pixels.transparent is not None


def _plain_alpha(image: PILImage.Image) -> NDArray[np.float32]:
    if image.mode == "La":
        image = image.convert("LA")
    return from_uint(np.asarray(image.convert("RGBA").getchannel("A")))


def _deep(pixels: Decoded, high: NDArray[Any], low: NDArray[Any] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """16-bit samples as colour (h, w, 3) and opacity (h, w) in [0, 1]."""
    if pixels.layout == "grey16":
        samples = high.astype(np.uint16)[..., None]
    elif pixels.layout == "greyalpha16":
        samples = high[..., ::2].astype(np.uint16) << 8 | high[..., 1::2]
    else:
        assert low is not None
        samples = high.astype(np.uint16) << 8 | low
    values = (samples / np.float64(pixels.maximum)).astype(np.float32)
    opacity = np.ones(values.shape[:2], np.float32)
    if values.shape[2] in (2, 4):
        opacity = values[..., -1]
        colour = values[..., :-1]
    else:
        colour = values
        if pixels.transparent is not None:
            opacity = np.any(samples != np.array(pixels.transparent, np.uint16), axis=-1).astype(np.float32)
    if pixels.premultiplied:
        weight = np.maximum(opacity, np.float32(1 / 65535))[..., None]
        colour = clip(np.divide(colour, weight, dtype=np.float32))
    if pixels.inverted:
        colour = 1 - colour
    return (np.repeat(colour, 3, axis=-1) if colour.shape[2] == 1 else colour), opacity
