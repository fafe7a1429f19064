"""The pocket generator: low-resolution pixels, words and noise in, the raw 4x picture out, which a projection then makes consistent.

A convolutional residual network, most of it at the input's resolution, two resize-convolutions up. Words scale and shift every block (FiLM,
Perez et al. 2018), noise enters every block. No normalisation looks across space, so what a pixel becomes depends on its surroundings
alone and windows of a larger picture agree. An exemplar's field goes straight to the result, as shading of the input's colours; the words
set how strongly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from chainzoom.backbones.pocket_network import DARKEST, FAINTEST, FIELD_GAIN, HEADROOM, LUMA

SCALE = 4
BORROWED = 2.2
"""What the share of the field starts from: exemplars come from pictures of about this inverse lightness."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a generator is made of.

    widths   channels at 1x, 2x and 4x of the input's resolution
    blocks   residual blocks there
    noise    planes of white noise there; the exemplar's field adds 16, 4 and 1
    words    length of the sentence embedding
    code     length of the code that words and creativity become
    """

    widths: tuple[int, int, int] = (64, 48, 32)
    blocks: tuple[int, int, int] = (6, 2, 1)
    noise: tuple[int, int, int] = (8, 4, 2)
    words: int = 384
    code: int = 128

    @property
    def planes(self) -> tuple[int, int, int]:
        """Planes of field and noise together, as each level's blocks read them."""
        a, b, c = self.noise
        return 16 + a, 4 + b, 1 + c

    def as_dict(self) -> dict[str, Any]:
        """For a file's header."""
        return asdict(self)


class Block(nn.Module):
    """x + conv(act(film(conv(act(x))) + noise))."""

    def __init__(self, width: int, code: int, noise: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.film, self.noise = nn.Linear(code, 2 * width), nn.Conv2d(noise, width, 1, bias=False)
        nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.film.weight, std=0.05)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: torch.Tensor, code: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """(B, width, h, w), (B, code), (B, noise, h, w) -> (B, width, h, w)."""
        gain, shift = self.film(code)[..., None, None].chunk(2, 1)
        y = self.first(functional.leaky_relu(x, 0.2))
        y = y * (1 + gain) + shift + self.noise(noise)
        return x + self.second(functional.leaky_relu(y, 0.2))


class Generator(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.centre: torch.Tensor
        self.register_buffer("centre", torch.zeros(shape.words))
        self.words = nn.Sequential(
            nn.Linear(shape.words + 1, shape.code), nn.LeakyReLU(0.2), nn.Linear(shape.code, shape.code), nn.LeakyReLU(0.2)
        )
        self.enter = nn.Conv2d(3 + shape.planes[0], shape.widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width, shape.code, noise) for _ in range(count))
            for width, count, noise in zip(shape.widths, shape.blocks, shape.planes, strict=True)
        )
        self.grow = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(shape.widths, shape.widths[1:], strict=False))
        self.leave = nn.Conv2d(shape.widths[-1], 3, 3, padding=1)
        self.borrow = nn.Linear(shape.code, 3)
        nn.init.zeros_(self.borrow.weight)
        nn.init.constant_(self.borrow.bias, BORROWED)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, image: torch.Tensor, words: torch.Tensor, noise: list[torch.Tensor], creativity: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) in [0, 1], (B, words), ``draw_noise``'s planes, (B,) in [0, 1] -> (B, 3, 4h, 4w), not yet consistent.

        The noise given should already be scaled by the creativity.
        """
        code = self.words(torch.cat([functional.normalize(words - self.centre, dim=1) * words.shape[1] ** 0.5, creativity[:, None]], 1))
        x = self.enter(torch.cat([image * 4 - 2, noise[0]], 1))
        for level, blocks in enumerate(self.stages):
            if level:
                x = self.grow[level - 1](functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            for block in blocks:
                x = block(x, code, noise[level])
        return self.leave(functional.leaky_relu(x, 0.2)) * 0.25 + self.lent(image, self.borrow(code), noise[2][:, :1])

    @staticmethod
    def lent(image: torch.Tensor, share: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        """(B, 3, 4h, 4w): a field (B, 1, 4h, 4w) as shading of the input; weaker towards white, where half of it would be cut off."""
        under = functional.interpolate(image.float(), scale_factor=float(SCALE), mode="bilinear", align_corners=False)
        light = (under * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        shade = (under + DARKEST) * (FAINTEST + HEADROOM * (1 - light)).clamp(FAINTEST, 1.0)
        return field.float() * shade * (share.float() / FIELD_GAIN)[..., None, None]


def draw_noise(shape: Shape, fields: torch.Tensor, creativity: torch.Tensor) -> list[torch.Tensor]:
    """What is not in the input: exemplars' fields (B, 4h, 4w) folded to each resolution, and white noise, scaled by creativity (B,)."""
    count, height, width = fields.shape
    found = []
    for level, planes in enumerate(shape.noise):
        folded = functional.pixel_unshuffle(fields[:, None] * FIELD_GAIN, SCALE >> level)
        noise = torch.randn(count, planes, height * (1 << level) // SCALE, width * (1 << level) // SCALE)
        found.append(torch.cat([folded, noise], 1) * creativity[:, None, None, None])
    return found
