"""What a zoom starts from: anything with a size, a hash and pixels that can be read by region."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import ImageError
from chainzoom.images import Image, Kernel, clip, frozen, resize

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in source pixels."""


class Source(Protocol):
    """A photo, however it is stored. ``photos.Photo`` reads files; ``ArraySource`` wraps pixels in memory."""

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        ...

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the bytes that hold the picture, in hex."""
        ...

    def read(self, region: Box, size: tuple[int, int], kernel: Kernel = "lanczos") -> Image:
        """The pixels of ``region`` as (h, w, 3) in [0, 1] for ``size`` = (w, h); exact where the grids agree."""
        ...

    def read_alpha(self, region: Box, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """The opacity of ``region`` as (h, w) in [0, 1], or None for an opaque picture."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pixels in memory: (H, W, 3) float32 in [0, 1]; the hash is that of the float32 bytes and the shape."""

    image: Image
    sha256: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArraySource:
        """Wrap an (H, W, 3) or (H, W) array: floats in [0, 1], or integers of 8 or 16 bits over their full range.

        Raises ImageError for another shape or type, values outside [0, 1], or NaN.
        """
        values: NDArray[Any] = np.asarray(array)
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        if values.ndim != 3 or values.shape[2] != 3 or min(values.shape[:2]) < 16:
            raise ImageError(f"an image array must be (H, W, 3) or (H, W) with at least 16 pixels a side; got shape {values.shape}")
        if values.dtype in (np.uint8, np.uint16):
            values = values / np.float64(np.iinfo(values.dtype).max)
        elif not np.issubdtype(values.dtype, np.floating):
            raise ImageError(f"an image array must be floating, uint8 or uint16; got {values.dtype}")
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError(f"a floating image array must lie in [0, 1] without NaN; got {values.min():g}..{values.max():g}")
        image = frozen(values.astype(np.float32))
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(image.data)
        return cls(image, digest.hexdigest())

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.image.shape[0])

    def read(self, region: Box, size: tuple[int, int], kernel: Kernel = "lanczos") -> Image:
        """See Source.read."""
        x0, y0, x1, y1 = (round(value) for value in region)
        if (x0, y0, x1, y1) == tuple(region) and size == (x1 - x0, y1 - y0):
            return self.image[y0:y1, x0:x1].copy()
        return clip(resize(self.image, size, kernel, region))

    def read_alpha(self, region: Box, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Arrays are opaque."""
        return None
