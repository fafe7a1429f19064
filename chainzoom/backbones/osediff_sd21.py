"""OSEDiff on Stable Diffusion 2.1: one DDPM step from t = 999 to x0, steered by words (the backbone's published predecessor).

z = posterior(encode(x)) * scaling; z <- x0 predicted by the UNet at t = 999; y = decode(z / scaling). One file,
``osediff.pkl``, holds three LoRA adapters of the UNet, its ``conv_in`` and the LoRA of the VAE's encoder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.checkpoints import (
    WeightFile,
    as_tensors,
    check_pairs,
    describe_file,
    lazy_reader,
    load_part,
    read_json,
    tensor_files,
)
from chainzoom.backbones.latents import Latents, parse_latents
from chainzoom.backbones.lora import PEFT_DEFAULT_ALPHA, Factors, LowRankUpdates, wrapped_factors
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.prompt_cache import CachedPrompts, Embedding, load_tokenizer
from chainzoom.backbones.torch_common import (
    checked_batch,
    out_of_memory_advice,
    pad_to_multiple,
    parse_dtype,
    require,
    to_images,
    torch,
)
from chainzoom.errors import WeightsError
from chainzoom.images import Image
from chainzoom.torch_io import existing, parse_device, quiet_loading, read_pickle

TIMESTEP = 999
SD21_LICENCE = "Stable Diffusion 2.1: CreativeML Open RAIL++-M (use-based restrictions)"
OSEDIFF_LICENCE = "OSEDiff release (Apache-2.0 code), made from Stable Diffusion 2.1, whose licence holds too"
_KEYS = {"vae_lora_encoder_modules", "rank_unet", "rank_vae", "state_dict_unet", "state_dict_vae"}
_LISTS = ("unet_lora_encoder_modules", "unet_lora_decoder_modules", "unet_lora_others_modules")


class ClipPrompts(CachedPrompts):
    """Prompt -> the last hidden state of one CLIP text encoder, (1, 77, width)."""

    def __init__(self, tokenizer: Any, placement: Placement, dtype: torch.dtype) -> None:
        super().__init__({"clip": tokenizer}, {"clip": 77})
        self._placement, self._dtype = placement, dtype

    def _run(self, groups: Sequence[Sequence[str]]) -> list[Embedding]:
        with self._placement.use("clip") as model:
            return [(model(self._ids("clip", group, self._placement.device))[0].to(self._dtype),) for group in groups]


class OSEDiffSD21:
    """One-step super-resolution steered by words. Build it with ``from_files``."""

    def __init__(
        self,
        unet: Any,
        latents: Latents,
        prompts: ClipPrompts,
        placement: Placement,
        *,
        alpha_bar: float,
        prediction: str,
        files: Sequence[WeightFile],
    ) -> None:
        """``alpha_bar``: cumulative product of the schedule's alphas at t = 999; ``prediction``: what the UNet answers."""
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise WeightsError(f"the scheduler's prediction_type {prediction!r} is not known; expected epsilon, v_prediction or sample")
        self.prompts = prompts
        self._unet, self._latents, self._placement = unet, latents, placement
        self._alpha_bar, self._prediction = alpha_bar, prediction
        self._files = list(files)
        self._facts: BackboneFacts | None = None
        self._lock = threading.RLock()

    @classmethod
    def from_files(
        cls,
        model_dir: str | os.PathLike[str],
        osediff: str | os.PathLike[str],
        device: str = "cpu",
        dtype: str = "float32",
        *,
        memory: str = "fast",
        posterior: str = "sample",
        tile: int = 1024,
        licence: str = SD21_LICENCE,
    ) -> OSEDiffSD21:
        """Read a Stable Diffusion 2.1 base folder in diffusers' layout and ``osediff.pkl``; merge in float32, cast to ``dtype``.

        Options as in ``osediff_sd3``. Raises WeightsError for anything missing, truncated, unsafe or made for another model.
        """
        diffusers, transformers = require("diffusers", "osediff_sd21"), require("transformers", "osediff_sd21")
        folder, kind = existing(model_dir, "model folder"), parse_dtype(dtype)
        placement = Placement(parse_device(device), memory)
        schedule = diffusers.DDPMScheduler.from_config(read_json(folder / "scheduler" / "scheduler_config.json"))
        parse_latents(posterior, tile)
        file = Path(osediff)
        content = read_osediff(file)

        unet = load_part(diffusers.UNet2DConditionModel, folder / "unet", kind)
        unet_state = as_tensors(content["state_dict_unet"], file, "OSEDiff file's state_dict_unet")
        own = _conv_in(unet_state, unet, file)
        read = lazy_reader(tensor_files(folder / "unet"))
        listed = [name for key in _LISTS for name in content[key]]
        with torch.no_grad():
            for name, tensor in own.items():
                unet.get_parameter(name).copy_(tensor)
        _merge(unet, lambda name: own[name] if name in own else read(name), unet_state, listed, content["rank_unet"], file)

        vae = load_part(diffusers.AutoencoderKL, folder / "vae", torch.float32)
        vae_state = as_tensors(content["state_dict_vae"], file, "OSEDiff file's state_dict_vae")
        _merge(vae, lazy_reader(tensor_files(folder / "vae")), vae_state, content["vae_lora_encoder_modules"], content["rank_vae"], file)
        with quiet_loading():
            vae.to(torch.float32 if kind == torch.float16 and vae.config.force_upcast else kind)

        clip = load_part(transformers.CLIPTextModel, folder / "text_encoder", kind)
        tokenizer = load_tokenizer(folder / "tokenizer", clip)
        check_pairs(
            folder,
            ("UNet in_channels", unet.config.in_channels, "VAE latent_channels", vae.config.latent_channels),
            ("UNet cross_attention_dim", unet.config.cross_attention_dim, "text encoder hidden_size", clip.config.hidden_size),
        )
        with out_of_memory_advice("osediff_sd21", memory):
            placement.add("clip", clip, "text")
            placement.add("vae", vae, "core")
            placement.add("unet", unet, "core")
        parts = ("unet", "vae", "text_encoder")
        files = [(tensors, f"{folder.name}/{part}/{tensors.name}", licence) for part in parts for tensors in tensor_files(folder / part)]
        return cls(
            unet,
            Latents(placement, vae.config, posterior=posterior, tile=tile),
            ClipPrompts(tokenizer, placement, kind),
            placement,
            alpha_bar=float(schedule.alphas_cumprod[TIMESTEP]),
            prediction=schedule.config.prediction_type,
            files=[*files, (file, file.name, OSEDIFF_LICENCE)],
        )

    @property
    def facts(self) -> BackboneFacts:
        """Facts with every file's hash (computed on first use)."""
        with self._lock:
            if self._facts is None:
                weights = tuple(describe_file(*entry) for entry in self._files)
                stochastic = self._latents.stochastic
                self._facts = BackboneFacts(
                    "osediff_sd21", min_size=16, uses_prompt=True, stochastic=stochastic, input="upscaled", weights=weights, generative=True
                )
            return self._facts

    def upscale(self, image: Image, prompt: str = "", noise: Any = None, *, seed: int = 0) -> Image:
        """Sharpen ``image`` (H, W, 3) in [0, 1], at output size; ``noise`` (1, 4, H/8, W/8) replaces the posterior's seeded draw."""
        return self.upscale_batch([image], [prompt], [seed], noise=noise)[0]

    def upscale_batch(
        self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int] | None = None, noise: Any = None
    ) -> list[Image]:
        """Many pictures of one size in one pass. Rounding may differ from one-by-one calls in the last bits."""
        if not images:
            return []
        pixels, drawn = checked_batch("osediff_sd21", images, prompts, seeds, 16)
        height, width = pixels.shape[-2:]
        with self._lock, torch.no_grad(), out_of_memory_advice("osediff_sd21", self._placement.memory):
            (embeds,) = self.prompts.encode(prompts)
            latent = self._latents.encode(pad_to_multiple(pixels, 8), drawn, noise)
            with self._placement.use("unet"):
                latent = self._latents.in_windows(latent, lambda part: self._step(part, embeds))
            return to_images(self._latents.decode(latent)[..., :height, :width])

    def truncation(self, prompt: str) -> dict[str, int]:
        """Tokens of the prompt that the text encoder cannot see; zero when all is used."""
        return self.prompts.truncation(prompt)

    def _step(self, latent: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        """x0 as the UNet predicts it from x_t = ``latent`` at t = 999; float32 in and out."""
        answer = self._unet(latent.to(embeds.dtype), TIMESTEP, encoder_hidden_states=embeds, return_dict=False)[0].float()
        signal, spread = self._alpha_bar**0.5, (1 - self._alpha_bar) ** 0.5
        if self._prediction == "epsilon":
            answer = (latent - spread * answer) / signal
        elif self._prediction == "v_prediction":
            answer = signal * latent - spread * answer
        result: torch.Tensor = answer
        return result


def read_osediff(file: Path) -> dict[str, Any]:
    """The dictionary in ``osediff.pkl``, checked for its keys. Raises WeightsError."""
    content = read_pickle(file, "OSEDiff file")
    wanted = _KEYS | set(_LISTS)
    if not isinstance(content, dict) or not wanted <= content.keys():
        missing = sorted(wanted - content.keys()) if isinstance(content, dict) else [f"a dict (it is a {type(content).__name__})"]
        raise WeightsError(f"OSEDiff file {file} lacks {', '.join(missing)}; give the official osediff.pkl")
    return content


def _conv_in(state: Mapping[str, torch.Tensor], unet: Any, file: Path) -> dict[str, torch.Tensor]:
    """The UNet's whole ``conv_in``, which the file carries beside the LoRA factors; anything else in it is an error."""
    own = {name.replace(".base_layer.", "."): tensor.float() for name, tensor in state.items() if ".lora_" not in name}
    for name, tensor in own.items():
        if not name.startswith("conv_in.") or tensor.shape != unet.get_parameter(name).shape:
            raise WeightsError(
                f"OSEDiff file {file}: {name} of shape {tuple(tensor.shape)} does not fit this UNet; it was made for another model"
            )
    return own


def _merge(module: Any, read: Any, state: Mapping[str, torch.Tensor], listed: Sequence[str], rank: int, file: Path) -> None:
    """Merge PEFT-wrapped factors, which must be those that the file lists, of the rank it states."""
    factors: Factors = wrapped_factors(state, PEFT_DEFAULT_ALPHA, file)
    absent = {f"{name}.weight" for name in listed} ^ factors.keys()
    if absent:
        raise WeightsError(
            f"OSEDiff file {file}: its module list and its factors differ ({len(absent)}, first: {min(absent)}); it is damaged"
        )
    for name, factor in factors.items():
        if factor.rank != rank:
            raise WeightsError(f"OSEDiff file {file}: {name} has rank {factor.rank}, the file says {rank}; it is damaged")
    updates = LowRankUpdates(module, read)
    updates.load("osediff", factors, file)
    updates.merge("osediff")
