"""OSEDiff on Stable Diffusion 3: the authors' training of the Chain-of-Zoom backbone.

LoRA on the linear layers of AdaLayerNormZero and on the VAE's encoder; 1 L2 + 2 LPIPS + 1 VSD; the regulariser is a copy of the
transformer with a LoRA of its own, which learns what outputs look like (MSE on x0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from chainzoom.backbones.checkpoints import as_tensors, check_state, load_part, read_json
from chainzoom.backbones.lora import PEFT_DEFAULT_ALPHA, adaln_parameters, read_official, write_official
from chainzoom.backbones.osediff_sd3 import SHIFTS
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.sd3_prompts import SD3Prompts
from chainzoom.backbones.torch_common import parse_dtype, require
from chainzoom.torch_io import existing, read_pickle
from chainzoom.training.sr import exports
from chainzoom.training.sr.base import Deeper, Losses, Recipe
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.lpips import Lpips
from chainzoom.training.sr.networks import (
    VAE_ADAPTER,
    Batch,
    add_lora,
    copy_of,
    encoder_layers,
    factors_of,
    freeze,
    lora_parameters,
    set_factors,
    under,
    without_lora,
)
from chainzoom.training.sr.objective import Draws, osediff_losses
from chainzoom.training.sr.vsd import Flow, vsd_loss

ADAPTER = "default"


class SD3Parts(Recipe):
    """What both recipes on Stable Diffusion 3 share: the networks in one step from a blurred picture to a sharp one."""

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__()
        diffusers = require("diffusers", "training osediff_sd3", "train")
        network, folder = config.network, existing(config.network.model_dir, "model folder")
        self.config, self.kind = config, parse_dtype(network.dtype)
        self.transformer = load_part(diffusers.SD3Transformer2DModel, folder / "transformer", self.kind)
        self.vae = load_part(diffusers.AutoencoderKL, folder / "vae", self.kind)
        self.scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        freeze((self.transformer, self.vae))
        if network.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing()
            self.vae.enable_gradient_checkpointing()
        before, after = SHIFTS[network.shift]
        self._shifts = before * float(self.vae.config.shift_factor), after * float(self.vae.config.shift_factor)
        self._scaling = float(self.vae.config.scaling_factor)
        self._last = float(self.scheduler.get("num_train_timesteps", 1000))
        placement = Placement(device, network.text_memory)
        self._prompts = [SD3Prompts.from_folder(folder, placement, self.kind)]  # in a list: no part of the trained module
        self._lpips = [Lpips.from_files(config.loss.vgg, config.loss.lpips_linear, device)] if config.loss.lpips else []

    @property
    def latent_channels(self) -> int:
        """16."""
        return int(self.vae.config.latent_channels)

    def encode_prompts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """(B, 589, T5 width) and (B, pooled width)."""
        with torch.no_grad():
            return self._prompts[0].encode(prompts)

    def encode(self, pixels: torch.Tensor, noise: torch.Tensor | None, draws: Draws | None = None) -> torch.Tensor:
        """Pixels to the latent that the network starts from, with the posterior drawn."""
        posterior = self.vae.encode(pixels.to(self.kind)).latent_dist
        mean = posterior.mean.float()
        drawn = draws.normal(mean) if draws is not None else noise
        latent: torch.Tensor = mean if drawn is None else mean + posterior.std.float() * drawn
        return (latent - self._shifts[0]) * self._scaling

    def velocity(self, network: Any, latent: torch.Tensor, timestep: torch.Tensor, words: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """What a transformer answers, in float32."""
        answer: torch.Tensor = network(
            hidden_states=latent.to(self.kind),
            timestep=timestep,
            encoder_hidden_states=words[0],
            pooled_projections=words[1],
            return_dict=False,
        )[0]
        return answer.float()

    def step(self, network: Any, latent: torch.Tensor, words: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The whole way in one go."""
        timestep = torch.full((latent.shape[0],), self._last, device=latent.device)
        return latent - self.velocity(network, latent, timestep, words)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent to pixels in about [-1, 1]."""
        pixels: torch.Tensor = self.vae.decode((latent / self._scaling + self._shifts[1]).to(self.kind), return_dict=False)[0]
        return pixels.float()

    def infer(self, lq: torch.Tensor, words: tuple[torch.Tensor, ...], noise: torch.Tensor) -> torch.Tensor:
        """As ``OSEDiffSD3.upscale``."""
        return self.decode(self.step(self.transformer, self.encode(lq, noise), words))


class OSEDiffSD3Recipe(SD3Parts):
    """Trains the transformer's and the encoder's LoRA."""

    def __init__(self, config: Config, device: torch.device, *, share: bool) -> None:
        """``share``: the regulariser uses the transformer's own frozen tensors (not possible where they are sharded)."""
        super().__init__(config, device)
        rank = config.network.rank
        self._alpha = config.network.alpha or float(rank)
        layers = [name.removesuffix(".weight") for name in adaln_parameters(self.transformer)]
        start = read_official(config.network.lora, self.transformer, rank) if config.network.lora else None
        self.regulariser = copy_of(self.transformer, share=share)
        add_lora(self.transformer, layers, rank, self._alpha, ADAPTER, config.seed)
        add_lora(self.regulariser, layers, rank, self._alpha, ADAPTER, config.seed + 1)
        add_lora(self.vae, encoder_layers(self.vae), rank, PEFT_DEFAULT_ALPHA, VAE_ADAPTER, config.seed)
        if not config.loss.regulariser:
            self.regulariser.requires_grad_(False)
        if start is not None:
            set_factors(self.transformer, ADAPTER, start, self._alpha, config.network.lora)
        if config.network.vae_encoder:
            file = Path(config.network.vae_encoder)
            state = as_tensors(read_pickle(file, "VAE encoder file"), file, "VAE encoder file")
            check_state(file, self.vae.encoder.state_dict(), state)
            self.vae.encoder.load_state_dict(state)
        self._encoder = {name: tensor.detach().cpu().clone() for name, tensor in self.vae.encoder.state_dict().items()}
        self._flow = Flow(self.scheduler)

    def groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Three: transformer, vae_encoder, regulariser (two where the configuration has no use for the last)."""
        groups = {
            "transformer": list(lora_parameters(self.transformer, ADAPTER).values()),
            "vae_encoder": list(lora_parameters(self.vae, VAE_ADAPTER).values()),
        }
        own = list(lora_parameters(self.regulariser, ADAPTER).values())
        return groups | ({"regulariser": own} if self.config.loss.regulariser else {})

    def losses(self, batch: Batch, draws: Draws, deeper: Deeper | None = None) -> Losses:
        """l2 + lpips + vsd for the generator, and the regulariser's own."""
        weights = self.config.loss
        latent = self.step(self.transformer, self.encode(batch.lq, None, draws), batch.words)
        return osediff_losses(
            weights,
            self.decode(latent),
            batch.gt,
            self._lpips[0] if self._lpips else None,
            lambda: self._vsd(latent, batch.words, draws),
            lambda: self._regulariser_loss(latent.detach(), batch.words, draws),
        )

    def _vsd(self, latent: torch.Tensor, words: tuple[torch.Tensor, ...], draws: Draws) -> torch.Tensor:
        with torch.no_grad():
            index, noise = draws.index(len(self._flow)), draws.normal(latent)
            noised, timestep = self._flow.noised(latent, noise, index)
            mine = self._flow.clean(noised, self.velocity(self.regulariser, noised, timestep, words), index)
            with without_lora(self.regulariser):
                frozen = self._frozen(noised, timestep, words)
            prior = self._flow.clean(noised, frozen, index)
        return vsd_loss(latent, mine, prior)

    def _frozen(self, noised: torch.Tensor, timestep: torch.Tensor, words: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The prior's velocity, guided away from no words when asked."""
        velocity = self.velocity(self.regulariser, noised, timestep, words)
        guidance = self.config.loss.guidance
        if guidance != 1:
            nothing = self.encode_prompts([""] * noised.shape[0])
            without = self.velocity(self.regulariser, noised, timestep, nothing)
            velocity = without + guidance * (velocity - without)
        return velocity

    def _regulariser_loss(self, latent: torch.Tensor, words: tuple[torch.Tensor, ...], draws: Draws) -> torch.Tensor:
        index, noise = draws.index(len(self._flow)), draws.normal(latent)
        noised, timestep = self._flow.noised(latent, noise, index)
        return functional.mse_loss(self._flow.clean(noised, self.velocity(self.regulariser, noised, timestep, words), index), latent)

    def export(self, folder: Path, trained: Mapping[str, torch.Tensor], step: int) -> None:
        """``model_STEP.pkl`` and ``vae_encoder_STEP.pt`` as the authors have them (fp16 encoder), and both as safetensors."""
        factors = factors_of(under("transformer", trained), ADAPTER, self._alpha)
        write_official(folder / f"model_{step}.pkl", factors, self.transformer_shapes())
        exports.write_peft(folder / "transformer", factors)
        encoder = {**self._encoder, **under("encoder", under("vae", trained))}
        exports.write_tensors(folder / f"vae_encoder_{step}.pt", {name: tensor.half() for name, tensor in encoder.items()})
        exports.write_safetensors(folder / f"vae_encoder_{step}.safetensors", encoder)

    def transformer_shapes(self) -> torch.nn.Module:
        """A transformer whose modules carry their plain names, on the meta device: what ``write_official`` orders by."""
        from chainzoom.backbones.sd3_sizes import build

        plain: torch.nn.Module = build("transformer", dict(self.transformer.config))
        return plain
