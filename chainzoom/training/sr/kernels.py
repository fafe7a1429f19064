"""Blur kernels of the Real-ESRGAN degradation (Wang et al. 2021, sections 3.2-3.4): Gaussian family and sinc."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float32]
SIZE = 21
"""Every kernel is padded to this side, so that kernels of one batch can be stacked."""
SIZES = tuple(range(7, SIZE + 1, 2))
SHAPES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float = 1.0, *, plateau: bool = False) -> Kernel:
    """A (size, size) kernel of sum 1: exp(-q^beta / 2), or 1 / (1 + q^beta) with ``plateau``, where q is the squared Mahalanobis distance.

    ``theta`` turns the axes (radians); ``beta`` 1 without plateau is the Gaussian.
    """
    axis = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(axis, axis)
    u, v = math.cos(theta) * x + math.sin(theta) * y, -math.sin(theta) * x + math.cos(theta) * y
    q = (u / sigma_x) ** 2 + (v / sigma_y) ** 2
    kernel = 1 / (1 + q**beta) if plateau else np.exp(-0.5 * q**beta)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def sinc(size: int, cutoff: float) -> Kernel:
    """A (size, size) circular low-pass filter of sum 1 that rings: J1(cutoff r) cutoff / (2 pi r)."""
    axis = np.arange(size) - (size - 1) / 2
    radius = np.hypot(*np.meshgrid(axis, axis))
    centre = radius == 0
    safe = np.where(centre, 1.0, radius)
    kernel = np.where(centre, cutoff**2 / (4 * math.pi), cutoff * bessel_j1(cutoff * safe) / (2 * math.pi * safe))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def bessel_j1(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Bessel function of order 1, by its integral: mean over t in (0, pi) of cos(t - x sin t); 1e-12 for |x| < 60."""
    count = 128
    t = (np.arange(count) + 0.5) * math.pi / count
    return np.asarray(np.cos(t - np.asarray(x)[..., None] * np.sin(t)).mean(-1))


def padded(kernel: Kernel) -> Kernel:
    """The kernel in the middle of (SIZE, SIZE) zeros."""
    margin = (SIZE - kernel.shape[0]) // 2
    return np.pad(kernel, margin)


def pulse() -> Kernel:
    """The kernel that changes nothing."""
    kernel = np.zeros((SIZE, SIZE), np.float32)
    kernel[SIZE // 2, SIZE // 2] = 1
    return kernel


def random_blur(
    rng: np.random.Generator,
    probabilities: tuple[float, ...],
    sinc_probability: float,
    sigma: tuple[float, float],
    beta_generalized: tuple[float, float],
    beta_plateau: tuple[float, float],
) -> Kernel:
    """A random kernel, padded: sinc with its probability, else one of ``SHAPES``. Betas are drawn below and above 1 equally often."""
    size = int(rng.choice(SIZES))
    if rng.random() < sinc_probability:
        return padded(sinc(size, rng.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi)))
    shape = SHAPES[int(rng.choice(len(SHAPES), p=np.asarray(probabilities) / sum(probabilities)))]
    sigma_x = rng.uniform(*sigma)
    iso = not shape.endswith("aniso")
    sigma_y, theta = (sigma_x, 0.0) if iso else (rng.uniform(*sigma), rng.uniform(-math.pi, math.pi))
    beta = 1.0
    if shape.startswith(("generalized", "plateau")):
        low, high = beta_generalized if shape.startswith("generalized") else beta_plateau
        beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return padded(gaussian(size, sigma_x, sigma_y, theta, beta, plateau=shape.startswith("plateau")))


def random_final_sinc(rng: np.random.Generator, probability: float) -> Kernel:
    """The last filter: a sinc with its probability, else the pulse."""
    if rng.random() >= probability:
        return pulse()
    return padded(sinc(int(rng.choice(SIZES)), rng.uniform(math.pi / 3, math.pi)))
