"""AlexNet's first layers as frozen eyes for critics: projected GANs (Sauer et al. 2021) learn far faster than critics from scratch.

Pictures are shown at twice their size, so that the first layer's 11-pixel windows see fine detail. The evaluation's kernel distance looks
with another network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from chainzoom.evaluation.metrics.perceptual import checkpoint

WIDTHS = (64, 192, 384)
"""Channels of the layers given."""
_LAYERS = ((4, 5), (1, 2), (1, 1))
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features:
    """Frozen convolutions: (kernel, bias) each."""

    def __init__(self, kernels: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._kernels = [(kernel.contiguous(memory_format=torch.channels_last), bias) for kernel, bias in kernels]
        self._mean, self._spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _SPREAD))

    @classmethod
    def read(cls, folder: Path) -> Features:
        """AlexNet from the archive that the evaluation's LPIPS reads too. Raises WeightsError when ``folder`` does not hold it."""
        tree = checkpoint(folder, "alexnet")["AlexNet_0"]
        parts = [tree[f"Conv_{number}"] for number in range(len(_LAYERS))]
        return cls([(torch.tensor(part["kernel"].transpose(3, 2, 0, 1).copy()), torch.tensor(part["bias"].copy())) for part in parts])

    @classmethod
    def random(cls, seed: int) -> Features:
        """Random convolutions of the same sizes, for tests and dry runs."""
        generator = torch.Generator().manual_seed(seed)
        sizes = ((3, 11), (WIDTHS[0], 5), (WIDTHS[1], 3))
        return cls(
            [
                (torch.randn((width, inner, side, side), generator=generator) * (2 / (inner * side * side)) ** 0.5, torch.zeros(width))
                for width, (inner, side) in zip(WIDTHS, sizes, strict=True)
            ]
        )

    def __call__(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) in [0, 1] -> three ReLU outputs, at about 1/2, 1/4 and 1/8 of the resolution."""
        x = functional.interpolate((pictures - self._mean) / self._spread, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = x.contiguous(memory_format=torch.channels_last)
        found = []
        for kernel, (stride, padding) in zip(self._kernels, _LAYERS, strict=True):
            x = functional.relu(functional.conv2d(x, *kernel, stride, padding))
            found.append(x)
            x = functional.max_pool2d(x, 3, 2)
        return found


def contrast_distance(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """(B,): squared log ratios of the strength of the finest detail, in lightness and in colour, of (B, 3, H, W) pictures.

    Critics notice a slow growth of contrast over a chain too late.
    """
    total = torch.zeros(len(made))
    for part in (_lightness, _colour):
        a, b = (part(p - functional.avg_pool2d(p, 3, 1, 1, count_include_pad=False)).std((1, 2, 3)) for p in (made, wanted))
        total = total + torch.log((a + 0.002) / (b + 0.002)) ** 2
    return total


def _lightness(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean(1, keepdim=True)


def _colour(pictures: torch.Tensor) -> torch.Tensor:
    return pictures - pictures.mean(1, keepdim=True)


def style_distance(made: list[torch.Tensor], wanted: list[torch.Tensor]) -> torch.Tensor:
    """(B,): how far channel means and spreads are apart, relative to the wanted ones' size; texture without places."""
    total = torch.zeros(made[0].shape[0])
    for a, b in zip(made, wanted, strict=True):
        a, b = a.float(), b.float()
        for x, y in ((a.mean((2, 3)), b.mean((2, 3))), (a.std((2, 3)), b.std((2, 3)))):
            total = total + ((x - y) ** 2).mean(1) / (y**2).mean(1).clamp_min(1e-6)
    return total
