"""Terms of the objectives beside VSD and LPIPS, and the randomness that they share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from chainzoom.errors import OptionError
from chainzoom.training.sr.config import Loss
from chainzoom.training.sr.degradation import SCALE, resample

Reward = Callable[[torch.Tensor], torch.Tensor]
"""(B, 3, H, W) in [0, 1] -> a scalar, the higher the better."""

JUDGES = frozenset({"niqe", "musiq", "maniqa", "maniqa-pipal", "clipiqa"})
"""Scores of the evaluation: what is trained for cannot be measured by."""


class Draws:
    """Random numbers of one micro-step, from its own seed, made on the CPU: the same on every device and after every resume."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal float32 noise of a tensor's shape, on its device."""
        return torch.randn(tuple(like.shape), generator=self._generator).to(like.device)

    def index(self, count: int) -> int:
        """0 .. count - 1, uniformly."""
        return int(torch.randint(count, (1,), generator=self._generator))


def l2(output: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean squared error of pictures in [-1, 1]; the output is not clamped, so that no pixel is without a gradient."""
    return functional.mse_loss(output.float(), truth.float())


def centre(picture: torch.Tensor) -> torch.Tensor:
    """The middle of (B, 3, H, W), a quarter of each side."""
    height, width = picture.shape[-2:]
    h, w = height // SCALE, width // SCALE
    top, left = (height - h) // 2, (width - w) // 2
    return picture[..., top : top + h, left : left + w]


def zoomed(picture: torch.Tensor) -> torch.Tensor:
    """What the next step is given: the middle, enlarged to the picture's size by bicubic interpolation; differentiable."""
    return resample(centre(picture), (picture.shape[-2], picture.shape[-1]))


def shrunk(picture: torch.Tensor) -> torch.Tensor:
    """A quarter of the size, antialiased bicubic."""
    return resample(picture, (picture.shape[-2] // SCALE, picture.shape[-1] // SCALE))


def laplacian(picture: torch.Tensor) -> torch.Tensor:
    """Mean squared answer to the 3 x 3 Laplacian: the amount of fine detail, invented or not."""
    kernel = picture.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).expand(picture.shape[1], 1, 3, 3)
    return functional.conv2d(picture, kernel, groups=picture.shape[1]).pow(2).mean()


def build_reward(name: str, device: torch.device) -> Reward:
    """A detail reward by name. Raises OptionError for a score of the evaluation or one without a gradient, MissingExtraError."""
    if name == "laplacian":
        return laplacian
    if name in JUDGES:
        raise OptionError(f"loss.reward_metric '{name}' is a score of the evaluation; train on another one (laplacian, topiq_nr)")
    from chainzoom.backbones.torch_common import require

    metric = require("pyiqa", f"the reward {name}", "pyiqa").create_metric(name, device=device, as_loss=True)
    sign = -1.0 if metric.lower_better else 1.0
    probe = torch.full((1, 3, 224, 224), 0.5, device=device).add_(torch.linspace(0, 0.1, 224, device=device)).requires_grad_()
    (gradient,) = torch.autograd.grad((sign * metric(probe)).mean(), probe, allow_unused=True)
    if gradient is None or not bool(gradient.abs().sum() > 0):
        raise OptionError(f"loss.reward_metric '{name}' has no gradient; use laplacian or topiq_nr")
    return lambda picture: sign * metric(picture).mean()


def osediff_losses(
    weights: Loss,
    output: torch.Tensor,
    truth: torch.Tensor,
    lpips: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None,
    vsd: Callable[[], torch.Tensor],
    regulariser: Callable[[], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """OSEDiff's terms by name and their weighted ``total``: l2, lpips and vsd for the generator, and the regulariser's own.

    Terms of weight 0 are not computed. ``output`` and ``truth`` are (B, 3, H, W) in about [-1, 1].
    """
    found = {"l2": l2(output, truth)}
    total = weights.l2 * found["l2"]
    if lpips is not None:
        found["lpips"] = lpips(output, truth)
        total = total + weights.lpips * found["lpips"]
    if weights.vsd:
        found["vsd"] = vsd()
        total = total + weights.vsd * found["vsd"]
    if weights.regulariser:
        found["regulariser"] = regulariser()
        total = total + weights.regulariser * found["regulariser"]
    return {**found, "total": total}
