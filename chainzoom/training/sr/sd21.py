"""OSEDiff on Stable Diffusion 2.1: LoRA on all of the UNet's convolutions and projections, its ``conv_in`` whole, and the VAE's encoder.

The prior is guided (7.5 in the published training) and the regulariser learns the network's own target (noise or velocity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from chainzoom.backbones.checkpoints import as_tensors, load_part, read_json
from chainzoom.backbones.lora import PEFT_DEFAULT_ALPHA
from chainzoom.backbones.osediff_sd21 import TIMESTEP, ClipPrompts, read_osediff
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.prompt_cache import load_tokenizer
from chainzoom.backbones.torch_common import parse_dtype, require
from chainzoom.errors import WeightsError
from chainzoom.torch_io import existing
from chainzoom.training.sr import exports
from chainzoom.training.sr.base import Deeper, Losses, Recipe
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.lpips import Lpips
from chainzoom.training.sr.networks import VAE_ADAPTER, Batch, add_lora, copy_of, encoder_layers, freeze, under, without_lora
from chainzoom.training.sr.objective import Draws, osediff_losses
from chainzoom.training.sr.vsd import Diffusion, vsd_loss

UNET_LAYERS = (
    "to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_in", "conv_shortcut", "conv_out", "proj_out", "proj_in",
    "ff.net.2", "ff.net.0.proj",
)  # fmt: skip
GROUPS = ("encoder", "decoder", "others")


def unet_layers(unet: Any) -> dict[str, list[str]]:
    """The trained layers by group, by the rule of the published training."""
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name, _ in unet.named_parameters():
        if not name.endswith(".weight") or "norm" in name or not any(part in name for part in UNET_LAYERS):
            continue
        group = "encoder" if "down_blocks" in name or "conv_in" in name else "decoder" if "up_blocks" in name else "others"
        found[group].append(name.removesuffix(".weight"))
    return found


class OSEDiffSD21Recipe(Recipe):
    """Trains three adapters and ``conv_in`` of the UNet, and the encoder's adapter."""

    def __init__(self, config: Config, device: torch.device, *, share: bool) -> None:
        """``share``: the regulariser uses the UNet's own frozen tensors."""
        super().__init__()
        diffusers, transformers = (require(name, "training osediff_sd21", "train") for name in ("diffusers", "transformers"))
        network, folder = config.network, existing(config.network.model_dir, "model folder")
        self.config, self.kind = config, parse_dtype(network.dtype)
        if network.alpha not in (0, PEFT_DEFAULT_ALPHA):
            raise WeightsError(f"osediff.pkl holds no alpha and is read with {PEFT_DEFAULT_ALPHA}; leave network.alpha out")
        self.unet = load_part(diffusers.UNet2DConditionModel, folder / "unet", self.kind)
        self.vae = load_part(diffusers.AutoencoderKL, folder / "vae", self.kind)
        freeze((self.unet, self.vae))
        if network.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            self.vae.enable_gradient_checkpointing()
        self.regulariser = copy_of(self.unet, share=share)
        self.unet.conv_in.weight, self.unet.conv_in.bias = (
            torch.nn.Parameter(p.detach().float().clone(), requires_grad=False) for p in (self.unet.conv_in.weight, self.unet.conv_in.bias)
        )
        self._layers, self._vae_layers = unet_layers(self.unet), encoder_layers(self.vae)
        for group, layers in self._layers.items():
            add_lora(self.unet, layers, network.rank, PEFT_DEFAULT_ALPHA, f"default_{group}", config.seed)
            add_lora(self.regulariser, layers, network.rank, PEFT_DEFAULT_ALPHA, f"default_{group}", config.seed + 1)
        for unet in (self.unet, self.regulariser):
            unet.set_adapter([f"default_{group}" for group in GROUPS])
        add_lora(self.vae, self._vae_layers, network.rank, PEFT_DEFAULT_ALPHA, VAE_ADAPTER, config.seed)
        if not config.loss.regulariser:
            self.regulariser.requires_grad_(False)
        for name, parameter in self.unet.named_parameters():
            if name.startswith("conv_in.base_layer."):
                parameter.requires_grad_(True)
        if network.lora:
            self._begin_from(Path(network.lora))
        self._flow = Diffusion(read_json(folder / "scheduler" / "scheduler_config.json"))
        self._scaling = float(self.vae.config.scaling_factor)
        placement = Placement(device, network.text_memory)
        clip = load_part(transformers.CLIPTextModel, folder / "text_encoder", self.kind)
        placement.add("clip", clip, "text")
        self._prompts = [ClipPrompts(load_tokenizer(folder / "tokenizer", clip), placement, self.kind)]
        self._lpips = [Lpips.from_files(config.loss.vgg, config.loss.lpips_linear, device)] if config.loss.lpips else []

    @property
    def latent_channels(self) -> int:
        """4."""
        return int(self.vae.config.latent_channels)

    def groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Three: unet (with conv_in), vae_encoder, regulariser (two where the configuration has no use for the last)."""
        parts = {"unet": self.unet, "vae_encoder": self.vae}
        parts |= {"regulariser": self.regulariser} if self.config.loss.regulariser else {}
        return {name: [p for p in part.parameters() if p.requires_grad] for name, part in parts.items()}

    def encode_prompts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """(B, 77, width)."""
        with torch.no_grad():
            return self._prompts[0].encode(prompts)

    def answer(self, network: Any, latent: torch.Tensor, timestep: torch.Tensor, words: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """What a UNet answers, in float32."""
        found: torch.Tensor = network(latent.to(self.kind), timestep, encoder_hidden_states=words[0], return_dict=False)[0]
        return found.float()

    def step(self, pixels: torch.Tensor, words: tuple[torch.Tensor, ...], noise: torch.Tensor | None, draws: Draws | None) -> torch.Tensor:
        """Pixels to the clean latent."""
        posterior = self.vae.encode(pixels.to(self.kind)).latent_dist
        mean = posterior.mean.float()
        drawn = draws.normal(mean) if draws is not None else noise
        latent = (mean if drawn is None else mean + posterior.std.float() * drawn) * self._scaling
        timestep = torch.full((latent.shape[0],), TIMESTEP, device=latent.device)
        return self._flow.clean(latent, self.answer(self.unet, latent, timestep, words), TIMESTEP)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent to pixels in about [-1, 1]."""
        pixels: torch.Tensor = self.vae.decode((latent / self._scaling).to(self.kind), return_dict=False)[0]
        return pixels.float()

    def infer(self, lq: torch.Tensor, words: tuple[torch.Tensor, ...], noise: torch.Tensor) -> torch.Tensor:
        """As ``OSEDiffSD21.upscale``."""
        return self.decode(self.step(lq, words, noise, None))

    def losses(self, batch: Batch, draws: Draws, deeper: Deeper | None = None) -> Losses:
        """l2 + lpips + vsd for the generator, and the regulariser's own."""
        weights = self.config.loss
        latent = self.step(batch.lq, batch.words, None, draws)
        return osediff_losses(
            weights,
            self.decode(latent),
            batch.gt,
            self._lpips[0] if self._lpips else None,
            lambda: self._vsd(latent, batch.words, draws),
            lambda: self._regulariser_loss(latent.detach(), batch.words, draws),
        )

    def _regulariser_loss(self, latent: torch.Tensor, words: tuple[torch.Tensor, ...], draws: Draws) -> torch.Tensor:
        index, noise = draws.index(len(self._flow.alphas)), draws.normal(latent)
        signal, spread = self._flow.amounts(index)
        timestep = torch.full((latent.shape[0],), index, device=latent.device)
        answer = self.answer(self.regulariser, signal * latent + spread * noise, timestep, words)
        return functional.mse_loss(answer, self._flow.target(latent, noise, index))

    def _vsd(self, latent: torch.Tensor, words: tuple[torch.Tensor, ...], draws: Draws) -> torch.Tensor:
        with torch.no_grad():
            index, noise = draws.index(len(self._flow)), draws.normal(latent)
            noised, timestep = self._flow.noised(latent, noise, index)
            mine = self._flow.clean(noised, self.answer(self.regulariser, noised, timestep, words), self._flow.timestep(index))
            with without_lora(self.regulariser):
                frozen = self.answer(self.regulariser, noised, timestep, words)
                guidance = self.config.loss.guidance
                if guidance != 1:
                    without = self.answer(self.regulariser, noised, timestep, self.encode_prompts([""] * noised.shape[0]))
                    frozen = without + guidance * (frozen - without)
            prior = self._flow.clean(noised, frozen, self._flow.timestep(index))
        return vsd_loss(latent, mine, prior)

    def _begin_from(self, file: Path) -> None:
        content = read_osediff(file)
        for part, key in ((self.unet, "state_dict_unet"), (self.vae, "state_dict_vae")):
            own = dict(part.named_parameters())
            for name, tensor in as_tensors(content[key], file, "OSEDiff file").items():
                if name not in own or own[name].shape != tensor.shape:
                    raise WeightsError(f"{file}: {name} {tuple(tensor.shape)} does not fit this recipe; set network.rank to the file's")
                with torch.no_grad():
                    own[name].copy_(tensor)

    def export(self, folder: Path, trained: Mapping[str, torch.Tensor], step: int) -> None:
        """``osediff.pkl`` as published, and the same tensors as safetensors."""
        content: dict[str, Any] = {f"unet_lora_{group}_modules": layers for group, layers in self._layers.items()}
        content |= {
            "vae_lora_encoder_modules": self._vae_layers,
            "rank_unet": self.config.network.rank,
            "rank_vae": self.config.network.rank,
        }
        content |= {"state_dict_unet": under("unet", trained), "state_dict_vae": under("vae", trained)}
        exports.write_tensors(folder / "osediff.pkl", content)
        tensors = {name: tensor for name, tensor in trained.items() if not name.startswith("regulariser.")}
        exports.write_safetensors(folder / "osediff.safetensors", tensors)
