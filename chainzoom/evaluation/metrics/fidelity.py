"""PSNR and SSIM against true pixels, which exist at 4x only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.images import Image
from chainzoom.images import psnr as plain_psnr

DEEPEST = 4.0
"""Scale beyond which no figure against a reference is given: no ground truth exists there."""
CAP_DB = 120.0
_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def checked_reference(sample: Sample) -> Image | None:
    """The reference, or None where the photo has no pixels to spare.

    Raises OptionError beyond 4x, and for a reference of another size.
    """
    if sample.reference is None:
        return None
    if sample.scale > DEEPEST * (1 + 1e-9):
        raise OptionError(
            f"figures against a reference are given up to {DEEPEST:g}x, asked was {sample.scale:g}x: no ground truth exists deeper; "
            "use the metrics without a reference"
        )
    if sample.reference.shape != sample.image.shape:
        raise OptionError(f"a reference must have the state's shape {sample.image.shape}; got {sample.reference.shape}")
    return sample.reference


def psnr(sample: Sample) -> float | None:
    """PSNR in dB over all channels, at most CAP_DB."""
    reference = checked_reference(sample)
    return None if reference is None else min(CAP_DB, plain_psnr(sample.image, reference))


def ssim(sample: Sample) -> float | None:
    """SSIM of the luma (BT.601, full range), see similarity."""
    reference = checked_reference(sample)
    return None if reference is None else similarity(luma(sample.image), luma(reference))


def luma(image: Image) -> NDArray[np.float64]:
    """(H, W, 3) -> (H, W), BT.601 weights on the full range."""
    return np.asarray(image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean SSIM of two planes in [0, 1] (Wang et al. 2004): 11 x 11 Gaussian window, sigma 1.5, whole windows only."""
    if min(a.shape) < _TAPS:
        raise OptionError(f"SSIM takes pictures of at least {_TAPS} pixels a side; got {a.shape[1]} x {a.shape[0]}")
    ma, mb = _window(a), _window(b)
    va, vb, both = _window(a * a) - ma * ma, _window(b * b) - mb * mb, _window(a * b) - ma * mb
    top = (2 * ma * mb + _C1) * (2 * both + _C2)
    return float(np.mean(top / ((ma * ma + mb * mb + _C1) * (va + vb + _C2))))


def _window(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    taps = np.exp(-(np.arange(-(_TAPS // 2), _TAPS // 2 + 1) ** 2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    for axis in (0, 1):
        length = plane.shape[axis] - _TAPS + 1
        plane = sum((tap * plane.take(range(k, k + length), axis) for k, tap in enumerate(taps)), np.zeros(()))
    return plane
