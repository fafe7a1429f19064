"""What the trainer knows of a recipe: networks, groups of weights, an objective, inference, and files to write."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from chainzoom.images import Image
from chainzoom.training.sr.networks import Batch
from chainzoom.training.sr.objective import Draws

Losses = dict[str, torch.Tensor]
"""``total`` carries the gradient; all others are figures to log."""

Deeper = Callable[[list[Image], list[Image]], tuple[torch.Tensor, ...]]
"""Embeddings of the next step's prompts, from states and the crops that the step zooms into."""


class Recipe(torch.nn.Module):
    """Networks and their objective as one module, so that one wrapper (DDP, FSDP, DeepSpeed) holds all of it.

    All losses come from one forward pass and no weight is in two groups, so one backward pass gives each group its own gradient.
    """

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the latent, for the noise of validation."""

    @abstractmethod
    def groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Trained weights by group; each group has its own optimiser."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Embeddings, each (B, ...), on the device."""

    @abstractmethod
    def losses(self, batch: Batch, draws: Draws, deeper: Deeper | None) -> Losses:
        """The objective on a batch."""

    @abstractmethod
    def infer(self, lq: torch.Tensor, words: tuple[torch.Tensor, ...], noise: torch.Tensor) -> torch.Tensor:
        """The picture that the inference backbone would make: (B, 3, H, W) in about [-1, 1]."""

    @abstractmethod
    def export(self, folder: Path, trained: Mapping[str, torch.Tensor], step: int) -> None:
        """Write the published file formats and safetensors into ``folder`` from ``kept``'s tensors by name."""

    def kept(self) -> dict[str, torch.nn.Parameter]:
        """What a checkpoint holds, by name: all trained weights, and those that follow them."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def after_step(self) -> None:
        """Called when the optimisers have stepped."""

    def forward(self, task: str, **inputs: Any) -> Any:
        """``losses`` or ``infer``: the one door that wrappers see."""
        return self.losses(**inputs) if task == "losses" else self.infer(**inputs)
