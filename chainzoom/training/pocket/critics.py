"""Critics: networks that tell made pictures from real ones, given the words. None sees the input that a picture was made from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from chainzoom.training.pocket.features import WIDTHS

_GAIN = 3.0
"""Spectral norms keep scores small; without this the hinge's margin is out of reach and critics stay vague."""


class Head(nn.Module):
    """Scores of feature maps; the words' part is a projection (Miyato and Koyama 2018)."""

    def __init__(self, width: int, words: int, inner: int = 64) -> None:
        super().__init__()
        self.squeeze = spectral_norm(nn.Conv2d(width, inner, 1))
        self.look = spectral_norm(nn.Conv2d(inner, inner, 3, padding=1))
        self.real, self.words = spectral_norm(nn.Conv2d(inner, 1, 1)), spectral_norm(nn.Linear(words, inner, bias=False))

    def forward(self, x: torch.Tensor, *words: torch.Tensor) -> list[torch.Tensor]:
        """(B, width, h, w) and any number of (B, words) -> (B, h, w) for each."""
        x = functional.leaky_relu(self.squeeze(x), 0.2)
        x = functional.leaky_relu(self.look(x), 0.2)
        plain = self.real(x)[:, 0].float()
        return [_GAIN * (plain + (x * self.words(said)[..., None, None]).sum(1).float()) for said in words]


class FeatureCritic(nn.Module):
    """A head on each layer of the frozen features."""

    def __init__(self, words: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(width, words) for width in widths)

    def forward(self, features: Sequence[torch.Tensor], *words: torch.Tensor) -> list[list[torch.Tensor]]:
        """One score map a layer, for each of the words given."""
        return _by_words([head(x, *words) for head, x in zip(self.heads, features, strict=True)])


class PixelCritic(nn.Module):
    """Patches of pixels, from scratch: sees the picture and its high-pass."""

    def __init__(self, words: int, width: int = 32) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, k, stride, padding=1))
            for a, b, k, stride in ((6, width, 3, 1), (width, 2 * width, 4, 2), (2 * width, 3 * width, 4, 2), (3 * width, 3 * width, 3, 1))
        )
        self.fine, self.coarse = Head(2 * width, words), Head(3 * width, words)

    def forward(self, pictures: torch.Tensor, *words: torch.Tensor) -> list[list[torch.Tensor]]:
        """(B, 3, H, W) in [0, 1] -> two score maps, at 1/2 and 1/4, for each of the words given."""
        smooth = functional.avg_pool2d(functional.pad(pictures, (2, 2, 2, 2), mode="reflect"), 5, 1)
        x = torch.cat([pictures * 2 - 1, (pictures - smooth) * 8], 1).contiguous(memory_format=torch.channels_last)
        maps = []
        for layer in self.body:
            x = functional.leaky_relu(layer(x), 0.2)
            maps.append(x)
        return _by_words([self.fine(maps[1], *words), self.coarse(maps[3], *words)])


def _by_words(maps: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [list(each) for each in zip(*maps, strict=True)]


def hinge(real: Sequence[torch.Tensor], made: Sequence[torch.Tensor], wrong: Sequence[torch.Tensor]) -> torch.Tensor:
    """The critics' loss: real pictures above 1; made ones, and real ones with other words, below -1."""
    total = torch.zeros(())
    for a, b, c in zip(real, made, wrong, strict=True):
        below = 0.5 * (functional.relu(1 + b).mean() + functional.relu(1 + c).mean())
        total = total + functional.relu(1 - a).mean() + below
    return total / len(real)
