"""JPEG's loss without its file: 4:2:0 chroma, 8 x 8 DCT, quantising, and back (ITU-T T.81), on tensors of any device."""

from __future__ import annotations

import math

import torch

_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(pixels: torch.Tensor, quality: float) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1] as it comes back from a JPEG file of this quality (1 to 100), in [0, 1], rounded to 8 bits."""
    height, width = pixels.shape[-2:]
    levels = (pixels * 255).round().clamp(0, 255)
    padded = torch.nn.functional.pad(levels, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = _mix(padded, _TO_YCC)
    luma, chroma = ycc[:, :1] - 128, torch.nn.functional.avg_pool2d(ycc[:, 1:], 2)
    luma, chroma = _quantised(luma, _table(_LUMA, quality)), _quantised(chroma, _table(_CHROMA, quality))
    chroma = torch.nn.functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = _mix(torch.cat([luma + 128, chroma], dim=1), _TO_RGB)[..., :height, :width]
    return rgb.round().clamp(0, 255) / 255


def _table(text: str, quality: float) -> torch.Tensor:
    """The standard's table, scaled as the reference implementation does."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor([float(word) for word in text.split()]).view(8, 8)
    return ((table * percent + 50) / 100).floor().clamp(1, 255)


def _quantised(plane: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Each 8 x 8 block through the DCT, rounded to multiples of the table, and back."""
    batch, channels, height, width = plane.shape
    basis, table = _dct(plane.device), table.to(plane.device)
    blocks = plane.view(batch, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    coefficients = (basis @ blocks @ basis.T / table).round() * table
    blocks = basis.T @ coefficients @ basis
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, height, width)


def _dct(device: torch.device) -> torch.Tensor:
    """The orthonormal DCT-II matrix (8, 8)."""
    k, n = torch.meshgrid(torch.arange(8.0, device=device), torch.arange(8.0, device=device), indexing="ij")
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _mix(pixels: torch.Tensor, matrix: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    return torch.einsum("oc,bchw->bohw", torch.tensor(matrix, device=pixels.device), pixels)
