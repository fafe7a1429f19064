"""The consistency projection of ``correctors.consistency`` for training: the same matrices, differentiable, without clipping."""

from __future__ import annotations

from functools import lru_cache

import torch

from chainzoom.correctors.consistency import kernels


@lru_cache(maxsize=8)
def _matrices(large: int, small: int) -> tuple[torch.Tensor, torch.Tensor]:
    shrink, inverse = kernels(large, small)
    return torch.from_numpy(shrink), torch.from_numpy(inverse)


def shrink(pictures: torch.Tensor) -> torch.Tensor:
    """(B, C, 4h, 4w) -> (B, C, h, w), the chain's antialiased bicubic."""
    rows, columns = (_matrices(side, side // 4)[0] for side in pictures.shape[-2:])
    return rows @ pictures.float() @ columns.T


def spread(pictures: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, C, 4h, 4w): the smooth picture that shrinks back exactly."""
    rows, columns = (_matrices(4 * side, side)[1] for side in pictures.shape[-2:])
    return rows @ pictures.float() @ columns.T


def band(pictures: torch.Tensor) -> torch.Tensor:
    """What of (B, C, 4h, 4w) a 4x smaller picture cannot hold; shrinks to zero."""
    return pictures.float() - spread(shrink(pictures))


def consistent(raw: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The picture nearest to ``raw`` (B, 3, 4h, 4w) that shrinks to ``image`` (B, 3, h, w) exactly."""
    return raw.float() + spread(image.float() - shrink(raw))
