"""Random light for the critics: what they see is turned in hue, so that a material is judged by its structure and not by its usual colour.

The chain must be able to make grass of a red blur. Without this a critic that knows grass as green teaches green specks.
"""

from __future__ import annotations

import math

import torch


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 3, 3) matrices and (count, 3, 1, 1) offsets: any hue, saturation from none to half again, a little light; grey stays grey."""
    angle, amount = torch.rand(count) * 2 * math.pi, torch.rand(count) * 1.5
    grey = torch.full((3, 3), 1 / 3)
    # The cross product with the grey axis turns colours about it.
    turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    flat = torch.eye(3) - grey
    matrices = grey + amount[:, None, None] * (torch.cos(angle)[:, None, None] * flat + torch.sin(angle)[:, None, None] * turn)
    return matrices, ((torch.rand(count) - 0.5) * 0.2)[:, None, None, None].expand(-1, 3, 1, 1)


def apply(pictures: torch.Tensor, light: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(B, 3, H, W) under the light drawn for each."""
    matrices, offsets = light
    return torch.einsum("bij,bjhw->bihw", matrices, pictures.float()) + offsets
