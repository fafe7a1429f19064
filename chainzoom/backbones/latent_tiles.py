"""A latent too large for one pass, run as overlapping windows that are blended with Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable

from chainzoom.backbones.torch_common import torch

_VARIANCE = 0.01
"""Of the Gaussian, in units of the window's side squared (Chain-of-Zoom and OSEDiff tiling)."""


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin so that they cover ``length``; the last is clamped to the edge."""
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]


def gaussian(height: int, width: int) -> torch.Tensor:
    """Blending weights (height, width), largest in the middle, all > 0."""

    def side(length: int) -> torch.Tensor:
        offset = (torch.arange(length, dtype=torch.float32) - (length - 1) / 2) / length
        return torch.exp(-(offset**2) / (2 * _VARIANCE))

    return torch.outer(side(height), side(width))


def in_windows(latent: torch.Tensor, window: int, overlap: int, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """``run`` over windows of ``latent`` (B, C, H, W), blended in float32; one call on the whole when it fits in a window."""
    height, width = latent.shape[-2:]
    if height <= window and width <= window:
        return run(latent)
    tall, wide = min(window, height), min(window, width)
    weight = gaussian(tall, wide).to(latent.device)
    total = torch.zeros_like(latent, dtype=torch.float32)
    norm = torch.zeros((height, width), dtype=torch.float32, device=latent.device)
    for top in starts(height, tall, overlap):
        for left in starts(width, wide, overlap):
            rows, columns = slice(top, top + tall), slice(left, left + wide)
            total[..., rows, columns] += run(latent[..., rows, columns]).float() * weight
            norm[rows, columns] += weight
    return (total / norm).to(latent.dtype)
