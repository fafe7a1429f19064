"""Variational score distillation (Wang et al. 2023) as OSEDiff uses it: a frozen prior and a regulariser that learns the outputs.

Both say what clean latent they see in a noised output; the difference pulls the output towards the prior's pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def vsd_loss(latent: torch.Tensor, x0_regulariser: torch.Tensor, x0_frozen: torch.Tensor) -> torch.Tensor:
    """MSE(z, stop(z - g)) with g = (x0_reg - x0_frozen) / mean|z - x0_frozen|, the mean over each sample: its gradient is 2 g / z.numel().

    All (B, C, h, w).
    """
    with torch.no_grad():
        spread = (latent - x0_frozen).abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8)
        target = latent - (x0_regulariser - x0_frozen) / spread
    return functional.mse_loss(latent.float(), target.float())


class Flow:
    """Stable Diffusion 3's rectified flow on its shifted 1000-step schedule: zt = (1 - s) z + s noise, x0 = zt - s v, t = 1000 s."""

    def __init__(self, scheduler: dict[str, Any]) -> None:
        """``scheduler``: the content of scheduler_config.json."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        schedule = FlowMatchEulerDiscreteScheduler.from_config(scheduler)
        schedule.set_timesteps(schedule.config.num_train_timesteps)
        self._scale = float(schedule.config.num_train_timesteps)
        self.timesteps: torch.Tensor = schedule.timesteps.float()

    def __len__(self) -> int:
        return len(self.timesteps)

    def noised(self, latent: torch.Tensor, noise: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """zt and the timestep (B,) that the network is told."""
        timestep = self.timesteps[index].to(latent.device)
        sigma = timestep / self._scale
        return (1 - sigma) * latent + sigma * noise, timestep.expand(latent.shape[0])

    def clean(self, noised: torch.Tensor, velocity: torch.Tensor, index: int) -> torch.Tensor:
        """x0 from the network's velocity."""
        return noised - float(self.timesteps[index]) / self._scale * velocity


class Diffusion:
    """Stable Diffusion 2.1's DDPM schedule: zt = a z + b noise, x0 as the prediction type says; t from 20 to 979, as in OSEDiff."""

    FIRST, LAST = 20, 980

    def __init__(self, scheduler: dict[str, Any]) -> None:
        """``scheduler``: the content of scheduler_config.json."""
        from diffusers import DDPMScheduler

        schedule = DDPMScheduler.from_config(scheduler)
        self.alphas: torch.Tensor = schedule.alphas_cumprod.float()
        self.prediction = str(schedule.config.prediction_type)

    def __len__(self) -> int:
        return self.LAST - self.FIRST

    def timestep(self, index: int) -> int:
        """The DDPM timestep of index 0 and following."""
        return self.FIRST + index

    def noised(self, latent: torch.Tensor, noise: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """zt and the timestep (B,)."""
        signal, spread = self.amounts(self.timestep(index))
        timestep = torch.full((latent.shape[0],), self.timestep(index), device=latent.device)
        return signal * latent + spread * noise, timestep

    def clean(self, noised: torch.Tensor, answer: torch.Tensor, timestep: int) -> torch.Tensor:
        """x0 from the network's answer at a DDPM timestep."""
        signal, spread = self.amounts(timestep)
        if self.prediction == "epsilon":
            return (noised - spread * answer) / signal
        return signal * noised - spread * answer if self.prediction == "v_prediction" else answer

    def target(self, latent: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """What the network should answer."""
        signal, spread = self.amounts(timestep)
        if self.prediction == "epsilon":
            return noise
        return signal * noise - spread * latent if self.prediction == "v_prediction" else latent

    def amounts(self, timestep: int) -> tuple[float, float]:
        """a and b."""
        alpha = float(self.alphas[timestep])
        return alpha**0.5, (1 - alpha) ** 0.5
