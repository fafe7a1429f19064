"""Stable Diffusion's text-conditioned x4 upscaler through diffusers: many steps, public weights, no one-step distillation.

Folder layout and arithmetic are ``stabilityai/stable-diffusion-x4-upscaler``'s; the picture itself is the small one, noised a little.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.checkpoints import WeightFile, check_pairs, describe_file, load_part, read_json, tensor_files
from chainzoom.backbones.prompt_cache import CachedPrompts, Embedding, load_tokenizer
from chainzoom.backbones.torch_common import (
    MEMORY_MODES,
    checked_batch,
    out_of_memory_advice,
    pad_to_multiple,
    parse_choice,
    parse_dtype,
    require,
    to_images,
    torch,
)
from chainzoom.errors import OptionError, WeightsError
from chainzoom.images import Image
from chainzoom.torch_io import existing, parse_device

LICENCE = "Stable Diffusion x4 upscaler: CreativeML Open RAIL++-M (use-based restrictions)"
SCALING = 0.08333
"""The VAE's scaling factor, which the published config leaves out."""
_PARTS = ("unet", "vae", "text_encoder")


class PipelinePrompts(CachedPrompts):
    """Prompt -> the pipeline's embedding, (1, 77, width)."""

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        super().__init__({"clip": pipeline.tokenizer}, {"clip": 77})
        self._pipeline, self._device = pipeline, device

    def _run(self, groups: Sequence[Sequence[str]]) -> list[Embedding]:
        encode = self._pipeline.text_encoder
        dtype = self._pipeline.unet.dtype
        return [(encode(self._ids("clip", group, self._device))[0].to(self._device, dtype),) for group in groups]


class SDx4:
    """Multi-step latent upscaler steered by words. Build it with ``from_files``."""

    def __init__(
        self,
        pipeline: Any,
        device: torch.device,
        *,
        memory: str,
        steps: int,
        guidance: float,
        noise_level: int,
        negative: str,
        files: Sequence[WeightFile],
    ) -> None:
        """``pipeline``: diffusers' StableDiffusionUpscalePipeline, already placed."""
        limit = int(pipeline.config.max_noise_level)
        if not 0 <= noise_level <= limit:
            raise OptionError(f"noise_level must lie in 0..{limit}, not {noise_level}")
        if steps < 1 or guidance < 1:
            raise OptionError(f"steps must be at least 1 and guidance at least 1.0, not {steps} and {guidance}")
        self._pipeline, self._memory = pipeline, memory
        self._steps, self._guidance, self._noise_level, self._negative = steps, guidance, noise_level, negative
        self.prompts = PipelinePrompts(pipeline, device)
        self._files = list(files)
        self._facts: BackboneFacts | None = None
        self._lock = threading.RLock()

    @classmethod
    def from_files(
        cls,
        model_dir: str | os.PathLike[str],
        device: str = "cpu",
        dtype: str = "float32",
        *,
        memory: str = "fast",
        steps: int = 20,
        guidance: float = 4.0,
        noise_level: int = 20,
        negative: str = "",
        licence: str = LICENCE,
    ) -> SDx4:
        """Read a diffusers folder.

        steps        denoising steps; guidance: classifier-free guidance weight, 1 turns it off
        noise_level  noise mixed into the small picture before it steers the network, 0..350 in the published model
        negative     words to move away from
        memory       ``fast``: all on the device; ``balanced``: one part at a time; ``low``: layer by layer (diffusers' offloading)

        Raises WeightsError, OptionError, MissingExtraError.
        """
        diffusers, transformers = require("diffusers", "sd_x4"), require("transformers", "sd_x4")
        folder, kind, place = existing(model_dir, "model folder"), parse_dtype(dtype), parse_device(device)
        parse_choice("memory", memory, MEMORY_MODES)
        index = read_json(folder / "model_index.json")
        unet = load_part(diffusers.UNet2DConditionModel, folder / "unet", kind)
        vae = load_part(diffusers.AutoencoderKL, folder / "vae", kind)
        vae.register_to_config(scaling_factor=SCALING)
        if unet.config.in_channels != vae.config.latent_channels + 3 or not unet.config.num_class_embeds:
            raise WeightsError(
                f"{folder / 'unet'} takes {unet.config.in_channels} channels; it is no x4 upscaler: give stable-diffusion-x4-upscaler"
            )
        schedulers = {}
        for name in ("low_res_scheduler", "scheduler"):
            config = read_json(folder / name / "scheduler_config.json")
            kind_of = getattr(diffusers, str(config.get("_class_name")), None)
            if kind_of is None:
                raise WeightsError(
                    f"{folder / name} names the scheduler {config.get('_class_name')!r}, which diffusers lacks; fetch the model again"
                )
            schedulers[name] = kind_of.from_config(config)
        text_encoder = load_part(transformers.CLIPTextModel, folder / "text_encoder", kind)
        check_pairs(
            folder,
            ("UNet cross_attention_dim", unet.config.cross_attention_dim, "text encoder hidden_size", text_encoder.config.hidden_size),
            ("VAE levels", len(vae.config.block_out_channels), "the x4 upscaler's", 3),
        )
        pipeline = diffusers.StableDiffusionUpscalePipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=load_tokenizer(folder / "tokenizer", text_encoder),
            unet=unet,
            max_noise_level=int(index.get("max_noise_level", 350)),
            **schedulers,
        )
        pipeline.set_progress_bar_config(disable=True)
        with out_of_memory_advice("sd_x4", memory):
            if place.type == "cpu" or memory == "fast":
                pipeline.to(place)
            elif memory == "balanced":
                pipeline.enable_model_cpu_offload(device=place)
            else:
                pipeline.enable_sequential_cpu_offload(device=place)
        files = [(file, f"{folder.name}/{part}/{file.name}", licence) for part in _PARTS for file in tensor_files(folder / part)]
        return cls(pipeline, place, memory=memory, steps=steps, guidance=guidance, noise_level=noise_level, negative=negative, files=files)

    @property
    def facts(self) -> BackboneFacts:
        """Facts with every file's hash (computed on first use)."""
        with self._lock:
            if self._facts is None:
                weights = tuple(describe_file(*entry) for entry in self._files)
                self._facts = BackboneFacts("sd_x4", uses_prompt=True, stochastic=True, weights=weights, generative=True)
            return self._facts

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """Enlarge ``image`` (h, w, 3) in [0, 1] to (4h, 4w, 3)."""
        return self.upscale_batch([image], [prompt], [seed])[0]

    def upscale_batch(self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int] | None = None) -> list[Image]:
        """Many pictures of one size in one pass; each has its own seed, drawn on the CPU."""
        if not images:
            return []
        pixels, drawn = checked_batch("sd_x4", images, prompts, seeds, 1)
        height, width = pixels.shape[-2:]
        small = (pixels / 2 + 0.5).clamp(0, 1)  # the pipeline maps [0, 1] to [-1, 1] itself
        with self._lock, torch.no_grad(), out_of_memory_advice("sd_x4", self._memory):
            (embeds,) = self.prompts.encode(prompts)
            (against,) = self.prompts.encode([self._negative] * len(images))
            answer = self._pipeline(
                image=pad_to_multiple(small, 8),
                prompt_embeds=embeds,
                negative_prompt_embeds=against,
                num_inference_steps=self._steps,
                guidance_scale=self._guidance,
                noise_level=self._noise_level,
                generator=[torch.Generator("cpu").manual_seed(seed % 2**64) for seed in drawn],
                output_type="pt",
            ).images
            return to_images(answer[..., : 4 * height, : 4 * width].float() * 2 - 1)

    def truncation(self, prompt: str) -> dict[str, int]:
        """Tokens of the prompt that the text encoder cannot see; zero when all is used."""
        return self.prompts.truncation(prompt)
