"""NIQE: how far a picture's local statistics lie from those of pristine photos (Mittal, Soundararajan, Bovik 2013). Lower is better.

The pristine model (mean and covariance of 36 features) is the authors', as packed in BasicSR 1.4.2 (Apache-2.0). Luma is that of YIQ on
the full range, as in pyiqa, which the paper used; ``luma="ycbcr"`` is MATLAB's and BasicSR's.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from math import lgamma
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OptionError
from chainzoom.images import Image

Plane = NDArray[np.float64]
Luma = Literal["yiq", "ycbcr"]
BLOCK = 96
_WINDOW, _SIGMA = 7, 7 / 6
_LUMA: dict[Luma, tuple[tuple[float, float, float], float]] = {
    "yiq": ((76.245, 149.685, 29.07), 0.0),
    "ycbcr": ((65.481, 128.553, 24.966), 16.0),
}
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
_SHAPES = np.arange(0.2, 10.0005, 0.001)
_lgamma = np.vectorize(lgamma, otypes=[np.float64])


def niqe(image: Image, luma: Luma = "yiq") -> float:
    """NIQE of (H, W, 3) in [0, 1], at least 192 x 96 pixels; NaN where the picture is too flat to have statistics.

    Raises OptionError for a smaller picture.
    """
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    if rows * columns < 2:
        raise OptionError(
            f"NIQE takes pictures of at least two blocks of {BLOCK} x {BLOCK} pixels; got {image.shape[1]} x {image.shape[0]}"
        )
    weights, offset = _LUMA[luma]
    plane = np.rint(image.astype(np.float64) @ np.array(weights) + offset)[: rows * BLOCK, : columns * BLOCK]
    scales = []
    for block in (BLOCK, BLOCK // 2):
        scales.append(_features(_blocks(_normalised(plane), block)))
        plane = _halved(plane)
    return _distance(np.concatenate(scales, axis=1))


def _distance(features: Plane) -> float:
    """Distance between the pristine model and the (blocks, 36) features of a picture."""
    whole = features[np.isfinite(features).all(axis=1)]
    if len(whole) < 2:
        return float("nan")
    mean, covariance = _pristine()
    # The mean leaves out single missing features, the covariance whole blocks: so does the authors' code.
    gap = mean - np.nanmean(np.where(np.isfinite(features), features, np.nan), axis=0)
    pooled = np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(gap @ pooled @ gap))


@lru_cache(maxsize=1)
def _pristine() -> tuple[Plane, Plane]:
    """Mean (36,) and covariance (36, 36) of the features of pristine photos."""
    with resources.files("chainzoom.evaluation.metrics").joinpath("niqe_pris_params.npz").open("rb") as file:
        data = np.load(file, allow_pickle=False)
        return data["mu_pris_param"].reshape(-1), data["cov_pris_param"]


def _normalised(plane: Plane) -> Plane:
    """Mean-subtracted, contrast-normalised coefficients (equation 1 of the NIQE paper)."""
    mean = _smooth(plane)
    spread = np.sqrt(np.abs(_smooth(plane * plane) - mean * mean))
    gap = plane - mean
    gap[np.abs(gap) < 1e-9] = 0
    return np.asarray(gap / (spread + 1))


def _smooth(plane: Plane) -> Plane:
    """Gaussian window of 7 x 7, sigma 7/6, with repeated edges."""
    reach = _WINDOW // 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if axis == a else (0, 0) for a in (0, 1)]
        wide, length = np.pad(plane, pad, mode="edge"), plane.shape[axis]
        plane = sum((tap * wide.take(range(k, k + length), axis) for k, tap in enumerate(taps)), np.zeros_like(plane))
    return plane


def _halved(plane: Plane) -> Plane:
    """MATLAB's imresize by 1/2: antialiased bicubic (a = -1/2) with mirrored edges."""
    distance = np.abs(np.arange(-3.5, 4)) / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, near, far)
    taps /= taps.sum()
    for axis in (0, 1):
        pad = [(3, 4) if axis == a else (0, 0) for a in (0, 1)]
        wide, length = np.pad(plane, pad, mode="symmetric"), plane.shape[axis] // 2
        plane = sum((tap * wide.take(range(k, k + 2 * length, 2), axis) for k, tap in enumerate(taps)), np.zeros(()))
    return plane


def _blocks(plane: Plane, side: int) -> Plane:
    """(n, side, side) in reading order."""
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _features(blocks: Plane) -> Plane:
    """(n, 18): shape and spread of the coefficients, and shape, mean and spreads of four products of neighbours."""
    alpha, left, right = _asymmetric(blocks)
    features = [alpha, (left + right) / 2]
    for shift in _NEIGHBOURS:
        alpha, left, right = _asymmetric(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * np.exp(_lgamma(2 / alpha) - _lgamma(1 / alpha))
        features += [alpha, mean, left, right]
    return np.stack(features, axis=1)


def _asymmetric(blocks: Plane) -> tuple[Plane, Plane, Plane]:
    """Shape, left and right scale (n,) of an asymmetric generalised Gaussian, by moments; NaN for blocks without a side."""
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = blocks**2
        left, right = (
            np.sqrt(np.where(side, squares, 0).sum((1, 2)) / np.maximum(side.sum((1, 2)), 1)) for side in (blocks < 0, blocks > 0)
        )
        left, right = (np.where(blocks.any(axis=(1, 2)), side, np.nan) for side in (left, right))
        skew: Any = left / right
        ratio = np.abs(blocks).mean((1, 2)) ** 2 / squares.mean((1, 2))
        ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    table = _ratios()
    place = np.clip(np.searchsorted(table, ratio), 1, len(table) - 1)
    place -= np.abs(ratio - table[place - 1]) <= np.abs(ratio - table[place])
    alpha = _SHAPES[np.where(np.isfinite(ratio), place, 0)]  # flat blocks take the first shape, as in the authors' code
    scale = np.sqrt(np.exp(_lgamma(1 / alpha) - _lgamma(3 / alpha)))
    return alpha, left * scale, right * scale


@lru_cache(maxsize=1)
def _ratios() -> Plane:
    """The moment ratio of every shape in _SHAPES, rising."""
    return np.asarray(np.exp(2 * _lgamma(2 / _SHAPES) - _lgamma(1 / _SHAPES) - _lgamma(3 / _SHAPES)))
