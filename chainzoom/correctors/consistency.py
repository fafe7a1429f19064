"""Consistency: what a step made, shrunk back by its zoom, must match what it zoomed into.

The classic remedy is iterative back-projection (Irani and Peleg, 1991): enlarge the error, add it, repeat. Here the shrinking kernel is
separable and known, so the fixed point can be written down: with D the antialiased bicubic shrink, y + S D^T (D S D^T)^-1 (x - D y) is the
picture nearest to y that shrinks to x exactly, in the norm of S. S is the covariance of pictures whose power falls as 1/f^2 below eight
pixels, as natural ones' does: the correction is smooth, where plain least squares (S = 1) leaves a lattice of the parent's pixels. Only
the limits of [0, 1] need repeats.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import OpenBLASController, ThreadpoolController

from chainzoom.images import Image, clip, psnr, resize

CAP_DB = 120.0
"""Figures above this are float32 rounding and are reported as this."""

_SMOOTHNESS = 64.0  # square of the length, in pixels, below which S is smooth
_ROUNDS, _MOST = 6, 24
"""Repeats: in every case where the end may not depend on the picture, and at most where it may."""
_ENOUGH_DB = 60.0


class _OneThread:
    """Keeps BLAS at one thread while anybody is inside: as fast at these sizes, the same bytes on any number of cores, and no spinning
    beside a busy backbone. The limit is the process's, so the first to enter sets it and the last to leave lifts it.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                _take_over()
                self._limit = _blas().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _take_over()
                self._limit.restore_original_limits()
                _take_over()


_one_thread = _OneThread()


def _take_over() -> None:
    """From threadpoolctl 3.8 on only the first thread that sets OpenBLAS's limit may change it; here it is whoever enters first and
    whoever leaves last.
    """
    if release := getattr(OpenBLASController, "clear_controlling_thread", None):
        release(force=True)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@lru_cache(maxsize=32)
def kernels(large: int, small: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(small, large) matrix of the antialiased bicubic shrink along one axis, and its (large, small) inverse in the norm of S."""
    shrink = resize(np.eye(large, dtype=np.float32), (small, large), "bicubic").T.astype(np.float64)
    differences = np.diff(np.eye(large), axis=0)
    with _one_thread:
        covariance = np.linalg.inv(np.eye(large) + _SMOOTHNESS * differences.T @ differences)
        spread = covariance @ shrink.T
        inverse = np.linalg.solve((shrink @ spread).T, spread.T).T
    return np.ascontiguousarray(shrink, dtype=np.float32), np.ascontiguousarray(inverse, dtype=np.float32)


def _separable(rows: NDArray[np.float32], image: Image, columns: NDArray[np.float32]) -> Image:
    """Apply ``rows`` along the height and ``columns`` along the width of (H, W, 3)."""
    with _one_thread:
        planes = np.matmul(np.matmul(rows, image.transpose(2, 0, 1)), columns.T)  # (3, h, w)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Antialiased bicubic shrink to ``size`` = (width, height): the kernel of every consistency figure."""
    return _separable(kernels(image.shape[0], size[1])[0], image, kernels(image.shape[1], size[0])[0])


def consistency_db(image: Image, source: Image) -> float:
    """PSNR in dB between ``image`` shrunk to the size of ``source`` and ``source``; at most CAP_DB."""
    return min(CAP_DB, psnr(shrink(image, (source.shape[1], source.shape[0])), source))


def project(image: Image, source: Image, strength: float = 1.0, *, enough_db: float = _ENOUGH_DB) -> Image:
    """Move ``image`` (H, W, 3) towards the nearest picture that shrinks to ``source`` (h, w, 3), both in [0, 1].

    ``strength`` 0 leaves it, 1 goes all the way; between, the change is scaled. Repeats (needed where [0, 1] clips) end at a consistency of
    ``enough_db``; out of reach, as windows of a plane set it, their number no longer depends on what else the picture shows.
    """
    if strength <= 0:
        return image
    size = (source.shape[1], source.shape[0])
    rows, columns = kernels(image.shape[0], size[1])[1], kernels(image.shape[1], size[0])[1]
    out = image
    for _ in range(_MOST if enough_db <= _ENOUGH_DB else _ROUNDS):
        error = source - shrink(out, size)
        if float(np.mean(error**2, dtype=np.float64)) < 10 ** (-enough_db / 10):
            break
        out = clip(out + _separable(rows, error, columns))
    return clip(image + np.float32(strength) * (out - image)) if strength < 1 else out
