"""From a true picture to a poor one: the two-stage Real-ESRGAN degradation, and the plain 4x reduction that the chain itself makes.

Numbers are drawn from a seeded NumPy generator on the CPU and pixels of noise from a torch generator on the pictures' device, so the
same seed gives the same input on the same hardware, whatever the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from chainzoom.training.sr import kernels
from chainzoom.training.sr.jpeg import jpeg

SCALE = 4
_MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Round:
    """One of the two rounds. Probabilities of ``resize`` are those of up, down, keep; noise levels are in 1/255."""

    blur_probability: float
    resize: tuple[float, float, float]
    resize_range: tuple[float, float]
    gaussian_probability: float
    gaussian: tuple[float, float]
    poisson: tuple[float, float]
    grey_probability: float
    jpeg: tuple[float, float]
    sigma: tuple[float, float]
    shapes: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    sinc_probability: float = 0.1
    beta_generalized: tuple[float, float] = (0.5, 4.0)
    beta_plateau: tuple[float, float] = (1.0, 2.0)


FIRST = Round(1.0, (0.2, 0.7, 0.1), (0.15, 1.5), 0.5, (1, 30), (0.05, 3), 0.4, (30, 95), (0.2, 3.0))
SECOND = Round(0.8, (0.3, 0.4, 0.3), (0.3, 1.2), 0.5, (1, 25), (0.05, 2.5), 0.4, (30, 95), (0.2, 1.5))
"""The published constants."""
FINAL_SINC = 0.8


def degrade(picture: torch.Tensor, kind: str, seed: int) -> torch.Tensor:
    """(3, H, W) in [0, 1] -> the input that a backbone would get: as large, in [0, 1], rounded to 8 bits.

    ``kind``: ``realesrgan`` or ``bicubic`` (by 4 only). The way back to full size is Pillow's bicubic, as in the chain.
    """
    batch = picture[None].float()
    height, width = batch.shape[-2:]
    small = (height // SCALE, width // SCALE)
    if kind == "realesrgan":
        low = realesrgan(batch, np.random.default_rng(seed), torch.Generator(batch.device).manual_seed(seed % 2**63))
    else:
        low = resample(batch, small)
    return rounded(resample(rounded(low), (height, width)))[0]


def realesrgan(batch: torch.Tensor, rng: np.random.Generator, noise: torch.Generator) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1] to (B, 3, H/4, W/4), both rounds and the final filter; all of a batch share the drawn numbers."""
    height, width = batch.shape[-2:]
    small = (height // SCALE, width // SCALE)
    first, second = _kernel(rng, FIRST), _kernel(rng, SECOND)
    final = kernels.random_final_sinc(rng, FINAL_SINC)

    out = blur(batch, first)
    factor = resize_factor(rng, FIRST)
    out = resize(out, (max(1, int(height * factor)), max(1, int(width * factor))), rng)
    out = add_noise(out, FIRST, rng, noise)
    out = jpeg(out, rng.uniform(*FIRST.jpeg))

    if rng.random() < SECOND.blur_probability:
        out = blur(out, second)
    factor = resize_factor(rng, SECOND)
    out = resize(out, (max(1, int(small[0] * factor)), max(1, int(small[1] * factor))), rng)
    out = add_noise(out, SECOND, rng, noise)
    quality = rng.uniform(*SECOND.jpeg)
    if rng.random() < 0.5:
        return jpeg(blur(resize(out, small, rng), final).clamp(0, 1), quality)
    return blur(resize(jpeg(out, quality), small, rng), final).clamp(0, 1)


def blur(batch: torch.Tensor, kernel: kernels.Kernel) -> torch.Tensor:
    """Convolve each channel; the edge is mirrored."""
    reach = kernel.shape[0] // 2
    mode = "reflect" if min(batch.shape[-2:]) > reach else "replicate"
    weight = torch.from_numpy(np.ascontiguousarray(kernel)).to(batch.device).expand(batch.shape[1], 1, -1, -1)
    return functional.conv2d(functional.pad(batch, (reach,) * 4, mode=mode), weight, groups=batch.shape[1])


def resize_factor(rng: np.random.Generator, constants: Round) -> float:
    """Up, down or keep."""
    direction = rng.choice(3, p=np.asarray(constants.resize) / sum(constants.resize))
    low, high = constants.resize_range
    return float((rng.uniform(1, high), rng.uniform(low, 1), 1.0)[direction])


def resize(batch: torch.Tensor, size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """To (height, width) by area, bilinear or bicubic interpolation without antialiasing, as the published pipeline does."""
    mode = _MODES[int(rng.integers(3))]
    return functional.interpolate(batch, size=size, mode=mode, **({} if mode == "area" else {"align_corners": False}))


def resample(batch: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """To (height, width) with Pillow's bicubic kernel, which antialiases when it shrinks."""
    return functional.interpolate(batch, size=size, mode="bicubic", antialias=True, align_corners=False)


def add_noise(batch: torch.Tensor, constants: Round, rng: np.random.Generator, noise: torch.Generator) -> torch.Tensor:
    """Gaussian or Poisson noise, of one value for all channels or of one each; the result is in [0, 1]."""
    if rng.random() < constants.gaussian_probability:
        level, grey = rng.uniform(*constants.gaussian) / 255, rng.random() < constants.grey_probability
        shape = (batch.shape[0], 1 if grey else batch.shape[1], *batch.shape[2:])
        return (batch + level * torch.randn(shape, generator=noise, device=batch.device)).clamp(0, 1)
    scale, grey = rng.uniform(*constants.poisson), rng.random() < constants.grey_probability
    return (batch + scale * poisson_noise(batch, noise, grey=grey)).clamp(0, 1)


def poisson_noise(batch: torch.Tensor, noise: torch.Generator, *, grey: bool) -> torch.Tensor:
    """Shot noise: as many photons for white as the picture has 8-bit values, rounded up to a power of two."""
    base = rounded(batch)
    if grey:
        base = (base * torch.tensor([0.2989, 0.587, 0.114], device=base.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
        base = rounded(base)
    photons = 2.0 ** np.ceil(np.log2(max(2, torch.unique(base).numel())))
    return torch.poisson(base * photons, generator=noise) / photons - base


def rounded(batch: torch.Tensor) -> torch.Tensor:
    """To 8 bits, in [0, 1]."""
    return (batch.clamp(0, 1) * 255).round() / 255


def _kernel(rng: np.random.Generator, constants: Round) -> kernels.Kernel:
    return kernels.random_blur(
        rng, constants.shapes, constants.sinc_probability, constants.sigma, constants.beta_generalized, constants.beta_plateau
    )
