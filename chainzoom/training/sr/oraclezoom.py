"""OracleZoom (arXiv 2609.06490): an adapter on top of a finished Chain-of-Zoom backbone, trained on two steps of its own chain.

Step 1 (4x) has a true picture; step 2 (16x) grows from step 1's own output and has none at its scale. Terms:

    fidelity  LPIPS(x1, truth)
    cycle     LPIPS(x2 shrunk by 4, the truth of the same region): what is invented must shrink back to what was there
    reward    -score(x2): detail; alone it is gamed by invented texture
    kl        ||z2 - z2 of the untrained backbone||^2 on the same input: a leash on the reward
    ema       ||z1 - z1 of the averaged weights, given the true picture||^2
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from chainzoom.backbones.checkpoints import lazy_reader, tensor_files
from chainzoom.backbones.latents import replace_vae_encoder
from chainzoom.backbones.lora import OFFICIAL_RANK, LowRankUpdates, read_official
from chainzoom.backbones.torch_common import to_images
from chainzoom.errors import OptionError
from chainzoom.training.sr import exports
from chainzoom.training.sr.base import Deeper, Losses
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.networks import Batch, add_lora, copy_of, factors_of, lora_parameters, under, without_lora
from chainzoom.training.sr.objective import Draws, build_reward, centre, shrunk, zoomed
from chainzoom.training.sr.sd3 import ADAPTER, SD3Parts

LAYERS = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")


class OracleZoomRecipe(SD3Parts):
    """Trains one adapter on the attention projections; backbone and VAE are frozen."""

    def __init__(self, config: Config, device: torch.device, *, share: bool) -> None:
        """``share``: the teacher uses the transformer's own frozen tensors."""
        super().__init__(config, device)
        if not self._lpips:
            raise OptionError("oraclezoom measures fidelity and coherence with LPIPS; loss.lpips must be above 0")
        network = config.network
        if network.lora:
            updates = LowRankUpdates(self.transformer, lazy_reader(tensor_files(Path(network.model_dir) / "transformer")))
            updates.load("official", read_official(network.lora, self.transformer, OFFICIAL_RANK), network.lora)
            updates.merge("official")
        if network.vae_encoder:
            replace_vae_encoder(self.vae, network.vae_encoder)
        self._alpha = network.alpha or 2.0 * network.rank
        layers = [name for name, _ in self.transformer.named_modules() if name.rpartition(".")[2] in LAYERS]
        self.teacher = copy_of(self.transformer, share=share)
        add_lora(self.transformer, layers, network.rank, self._alpha, ADAPTER, config.seed)
        add_lora(self.teacher, layers, network.rank, self._alpha, ADAPTER, config.seed)
        self.teacher.requires_grad_(False)
        self._reward = build_reward(config.loss.reward_metric, device) if config.loss.reward else None

    def groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """One: transformer."""
        return {"transformer": list(lora_parameters(self.transformer, ADAPTER).values())}

    def kept(self) -> dict[str, torch.nn.Parameter]:
        """The adapter and its average."""
        teacher = {f"teacher.{name}": parameter for name, parameter in lora_parameters(self.teacher, ADAPTER).items()}
        return super().kept() | teacher

    def after_step(self) -> None:
        """The teacher follows."""
        own = lora_parameters(self.transformer, ADAPTER)
        with torch.no_grad():
            for name, average in lora_parameters(self.teacher, ADAPTER).items():
                average.lerp_(own[name].detach(), 1 - self.config.network.ema_decay)

    def losses(self, batch: Batch, draws: Draws, deeper: Deeper | None = None) -> Losses:
        """The five terms."""
        weights, lpips = self.config.loss, self._lpips[0]
        first = self.step(self.transformer, self.encode(batch.lq, None, draws), batch.words)
        x1 = self.decode(first)
        found = {"fidelity": lpips(x1, batch.gt)}
        total = weights.lpips * found["fidelity"]
        if weights.ema:
            with torch.no_grad():
                wanted = self.step(self.teacher, self.encode(batch.gt, None, draws), batch.words)
            found["ema"] = functional.mse_loss(first, wanted)
            total = total + weights.ema * found["ema"]
        if weights.cycle or weights.reward or weights.kl:
            deep = zoomed((x1 if weights.cycle and self.config.network.full_gradient else x1.detach()).clamp(-1, 1))
            words = deeper(to_images(x1), to_images(deep)) if deeper is not None else batch.words
            start = self.encode(deep, None, draws)
            second = self.step(self.transformer, start, words)
            x2 = self.decode(second)
            found["cycle"] = lpips(shrunk(x2), centre(batch.gt))
            # Consistency beside every reward: how well the second state shrinks back to what it grew from, in squared error.
            found["inconsistency"] = functional.mse_loss(shrunk(x2.detach()).clamp(-1, 1), shrunk(deep.detach()))
            total = total + weights.cycle * found["cycle"]
            if self._reward is not None:
                found["reward"] = self._reward((x2 / 2 + 0.5).clamp(0, 1))
                total = total - weights.reward * found["reward"]
            if weights.kl:
                with torch.no_grad(), without_lora(self.teacher):
                    base = self.step(self.teacher, start.detach(), words)
                found["kl"] = functional.mse_loss(second, base)
                total = total + weights.kl * found["kl"]
        return {**found, "total": total}

    def export(self, folder: Path, trained: Mapping[str, torch.Tensor], step: int) -> None:
        """PEFT folders: ``adapter`` (for ``adapters`` of osediff_sd3) and ``averaged``, the teacher's."""
        for part, name in (("transformer", "adapter"), ("teacher", "averaged")):
            exports.write_peft(folder / name, factors_of(under(part, trained), ADAPTER, self._alpha))
