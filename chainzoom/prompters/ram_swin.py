"""Swin transformer (Liu et al. 2021) as RAM uses it: windows of tokens, shifted every other block; inference only.

Module names follow the published checkpoints, so a state dict loads without renaming. Numbers that a block can compute
(`relative_position_index`, shift masks) are not part of the state dict.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def to_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window**2, C), windows in reading order."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def from_windows(x: Tensor, window: int, side: int) -> Tensor:
    """Undo ``to_windows`` for a square map: (B * windows, window**2, C) -> (B, side, side, C)."""
    n, c = side // window, x.shape[-1]
    x = x.view(-1, n, n, window, window, c)
    return x.transpose(2, 3).reshape(-1, side, side, c)


def relative_index(window: int) -> Tensor:
    """Row of the bias table for every pair of tokens of a window: (window**2, window**2), int64."""
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)  # (2, T)
    offset = at[:, :, None] - at[:, None, :] + window - 1  # (2, T, T), 0 .. 2 window - 2
    return offset[0] * (2 * window - 1) + offset[1]


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """0 where two tokens of a rolled window are neighbours in the picture, -100 where the roll brought them together.

    Shape (windows, window**2, window**2).
    """
    band = torch.zeros(side)
    band[side - window : side - shift], band[side - shift :] = 1, 2
    area = (3 * band[:, None] + band[None, :])[None, :, :, None]
    label = to_windows(area, window).squeeze(-1)  # (windows, T)
    return torch.where(label[:, :, None] == label[:, None, :], 0.0, -100.0)


class WindowAttention(nn.Module):
    """Self-attention within windows with a learnt bias for each relative position."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.index: Tensor
        with torch.device("cpu"):
            self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B * windows, T, C) -> the same shape; ``mask`` is (windows, T, T) or None."""
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)  # each (N, heads, T, c)
        bias = self.relative_position_bias_table[self.index.flatten()].view(t, t, self.heads).permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None].to(x)).repeat(n // mask.shape[0], 1, 1, 1)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(n, t, c))
        return out


class Mlp(nn.Module):
    """Linear, GELU, linear; four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """One pre-norm Swin block on a square map of ``side`` tokens."""

    def __init__(self, width: int, side: int, window: int, heads: int, shifted: bool) -> None:
        super().__init__()
        # A window as large as the map has nowhere to shift to.
        self.side, self.window = side, min(window, side)
        self.shift = window // 2 if shifted and side > window else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = WindowAttention(width, self.window, heads), Mlp(width)
        self.mask: Tensor | None
        with torch.device("cpu"):
            self.register_buffer("mask", shift_mask(side, self.window, self.shift) if self.shift else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side**2, C) -> the same shape."""
        b, _, c = x.shape
        y = self.norm1(x).view(b, self.side, self.side, c).roll((-self.shift, -self.shift), (1, 2))
        y = from_windows(self.attn(to_windows(y, self.window), self.mask), self.window, self.side)
        x = x + y.roll((self.shift, self.shift), (1, 2)).reshape(b, -1, c)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Merge(nn.Module):
    """Halve the map: four neighbours become one token of twice the width."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.reduction, self.norm = nn.Linear(4 * width, 2 * width, bias=False), nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side**2, C) -> (B, side**2 / 4, 2 C); the four neighbours are joined column by column."""
        b, _, c = x.shape
        x = x.view(b, self.side // 2, 2, self.side // 2, 2, c).permute(0, 1, 3, 4, 2, 5)
        out: Tensor = self.reduction(self.norm(x.reshape(b, -1, 4 * c)))
        return out


class Stage(nn.Module):
    """Blocks at one resolution, then a merge except at the end."""

    def __init__(self, width: int, side: int, window: int, heads: int, depth: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, side, window, heads, shifted=bool(i % 2)) for i in range(depth))
        self.downsample = None if last else Merge(width, side)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side**2, C) -> (B, side**2 / 4, 2 C), or the same shape at the end."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """4x4 patches to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, (S / 4)**2, C)."""
        out: Tensor = self.norm(self.proj(pixels).flatten(2).transpose(1, 2))
        return out


class Swin(nn.Module):
    """The image encoder: mean token in front, then all tokens of the last stage."""

    def __init__(self, image: int, width: int, depths: Sequence[int], heads: Sequence[int], window: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        self.layers = nn.ModuleList(
            Stage(width * 2**i, image // 4 // 2**i, window, heads[i], depth, last=i == len(depths) - 1) for i, depth in enumerate(depths)
        )
        self.norm = nn.LayerNorm(width * 2 ** (len(depths) - 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1 + tokens, C)."""
        x = self.patch_embed(pixels)
        for stage in self.layers:
            x = stage(x)
        x = self.norm(x)
        return torch.cat([x.mean(1, keepdim=True), x], 1)
