"""The image contract and the few operations that everything shares.

Between modules a picture is float32, (H, W, 3), RGB (sRGB-encoded), in [0, 1]. Other ranges and layouts stay inside one file.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

Image = NDArray[np.float32]
"""(H, W, 3) float32 RGB in [0, 1]."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in luma (ITU-R BT.601)."""

Kernel = Literal["nearest", "bicubic", "lanczos", "box"]

_RESAMPLING = {
    "nearest": PILImage.Resampling.NEAREST,
    "bicubic": PILImage.Resampling.BICUBIC,
    "lanczos": PILImage.Resampling.LANCZOS,
    "box": PILImage.Resampling.BOX,
}


def resize(
    image: NDArray[np.float32],
    size: tuple[int, int],
    kernel: Kernel = "bicubic",
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Resample to ``size`` = (width, height) in float32 with Pillow's kernels, which antialias when they shrink.

    ``image`` is (H, W) or (H, W, C); ``box`` = (x0, y0, x1, y1) is the part to show, in pixels, fractions allowed; the kernel still sees
    the pixels around it. Values are not clipped: bicubic and Lanczos may overshoot [0, 1].
    """
    if image.ndim == 2:
        plane = PILImage.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        return np.asarray(plane.resize(size, _RESAMPLING[kernel], box=box), dtype=np.float32)
    planes = [resize(image[..., c], size, kernel, box) for c in range(image.shape[2])]
    return np.stack(planes, axis=-1)


def clip(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring values into [0, 1]."""
    return np.clip(image, np.float32(0), np.float32(1))


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round (never truncate) [0, 1] to 0..255."""
    return np.asarray(np.rint(np.clip(image, 0, 1) * np.float32(255)), dtype=np.uint8)


def to_uint16(image: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round (never truncate) [0, 1] to 0..65535."""
    return np.rint(np.clip(image, 0, 1).astype(np.float64) * 65535).astype(np.uint16)


def from_uint(array: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Map integers of 8 or 16 bits onto [0, 1]."""
    return (array / np.float64(np.iinfo(array.dtype).max)).astype(np.float32)


def frozen(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same pixels, contiguous and read-only."""
    out = np.array(image, dtype=np.float32, order="C", copy=True)
    out.flags.writeable = False
    return out


def psnr(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB over all channels for pictures in [0, 1]; ``inf`` when equal."""
    mse = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float("inf") if mse == 0 else float(-10 * np.log10(mse))
