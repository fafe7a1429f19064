"""OSEDiff on Stable Diffusion 3 medium: the official Chain-of-Zoom backbone, one step from a blurred picture to a sharp one.

z = posterior(encode(x)) * scaling; z <- z - v(z, t = 1000, prompt); y = decode(z / scaling + shift),
as the authors' point-zoom inference does.
Full size needs ``stabilityai/stable-diffusion-3-medium-diffusers`` and the authors' ``model_20001.pkl`` and ``vae_encoder_20001.pt``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.adapters import read_adapter
from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.checkpoints import (
    WeightFile,
    check_pairs,
    describe_file,
    lazy_reader,
    load_part,
    read_json,
    tensor_files,
)
from chainzoom.backbones.latents import Latents, parse_latents, replace_vae_encoder
from chainzoom.backbones.lora import OFFICIAL_RANK, LowRankUpdates, read_official, write_official
from chainzoom.backbones.placement import Placement, parse_quantise
from chainzoom.backbones.sd3_prompts import ENCODERS, SD3Prompts
from chainzoom.backbones.torch_common import (
    checked_batch,
    out_of_memory_advice,
    pad_to_multiple,
    parse_choice,
    parse_dtype,
    require,
    to_images,
    torch,
)
from chainzoom.errors import WeightsError
from chainzoom.images import Image
from chainzoom.torch_device import Lane
from chainzoom.torch_io import existing, parse_device, quiet_loading

SHIFTS = {"point": (0, 1), "training": (1, 1), "full": (0, 0)}
"""Name -> how many times the VAE's shift factor is subtracted after encoding and added before decoding."""
OFFICIAL = "official"
"""Name of the authors' LoRA among the updates."""
SD3_LICENCE = "Stable Diffusion 3 medium: gated; Stability AI Community licence or non-commercial"
COZ_LICENCE = "Chain-of-Zoom release (MIT code), made from Stable Diffusion 3 medium, whose licence holds too"


class OSEDiffSD3:
    """One-step super-resolution steered by words. Build it with ``from_files``."""

    def __init__(
        self,
        transformer: Any,
        latents: Latents,
        prompts: SD3Prompts,
        placement: Placement,
        updates: LowRankUpdates,
        *,
        timestep: float,
        shifts: tuple[float, float],
        files: Sequence[WeightFile],
    ) -> None:
        """``shifts``: what is subtracted after the VAE's encoder and added before its decoder; ``files``: what the facts name."""
        self.prompts, self.updates = prompts, updates
        self._transformer, self._latents, self._placement = transformer, latents, placement
        self._timestep, self._shifts = timestep, shifts
        self._files, self._adapter_files = list(files), dict[str, WeightFile]()
        self._facts: BackboneFacts | None = None
        self._lock, self._lane = threading.RLock(), Lane(placement.device)

    @classmethod
    def from_files(
        cls,
        model_dir: str | os.PathLike[str],
        lora: str | os.PathLike[str] | None,
        vae_encoder: str | os.PathLike[str] | None,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        memory: str = "fast",
        shift: str = "point",
        posterior: str = "sample",
        quantise_t5: str | None = None,
        compile: str | None = None,
        channels_last: bool = False,
        tile: int = 1024,
        lora_rank: int = OFFICIAL_RANK,
        adapters: Mapping[str, str] | None = None,
        licence: str = SD3_LICENCE,
    ) -> OSEDiffSD3:
        """Read a diffusers folder and the authors' two files (None: leave that one out), merge in float32, cast to ``dtype``.

        device       torch's name; dtype: ``float32`` (as published), ``bfloat16``, ``float16`` (VAE: float32 if its config says so)
        memory       ``fast``, ``balanced`` or ``low``: see ``placement.Placement``
        shift        VAE shift factor: ``point`` adds it at the decoder only (the released checkpoint's inference), ``training`` also
                     subtracts it after the encoder, ``full`` leaves it out on both sides (full-image inference)
        posterior    ``sample`` (seeded) or ``mean``
        quantise_t5  ``int8`` keeps T5's weights in 8 bits (torchao)
        compile      a ``torch.compile`` backend for the transformer, e.g. ``inductor``; None: off. The first picture of each size is then
                     slow; torch keeps what it compiled in its own cache folder between runs
        channels_last  keep the VAE's convolutions in the layout that GPUs with tensor cores compute in
        tile         sides above this many pixels are worked in windows of half of it
        lora_rank    rank that the LoRA file must have
        adapters     name -> path of PEFT adapters to merge on top, see ``load_adapter``

        Raises WeightsError for anything missing, truncated, unsafe or made for another model; OptionError; MissingExtraError.
        """
        diffusers = require("diffusers", "osediff_sd3")
        folder, kind = existing(model_dir, "model folder"), parse_dtype(dtype)
        placement = Placement(parse_device(device), memory)
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        if not str(scheduler.get("_class_name", "")).startswith("FlowMatch"):
            raise WeightsError(
                f"{folder} has the scheduler {scheduler.get('_class_name')}, not Stable Diffusion 3's FlowMatchEulerDiscreteScheduler"
            )
        shifts = SHIFTS[parse_choice("shift", shift, tuple(SHIFTS))]
        parse_latents(posterior, tile)
        parse_quantise(quantise_t5)
        for path in (lora, vae_encoder, *(adapters or {}).values()):
            if path is not None:
                existing(path, "file")

        transformer = load_part(diffusers.SD3Transformer2DModel, folder / "transformer", kind)
        updates = LowRankUpdates(transformer, lazy_reader(tensor_files(folder / "transformer")))
        files = [
            (file, f"{folder.name}/{part}/{file.name}", licence)
            for part in ("transformer", "vae", *ENCODERS)
            for file in tensor_files(folder / part)
        ]
        if lora is not None:
            updates.load(OFFICIAL, read_official(lora, transformer, lora_rank), lora)
            updates.merge(OFFICIAL)
        vae = load_part(diffusers.AutoencoderKL, folder / "vae", torch.float32)
        check_pairs(
            folder,
            ("transformer in_channels", transformer.config.in_channels, "VAE latent_channels", vae.config.latent_channels),
            ("VAE levels", len(vae.config.block_out_channels), "Stable Diffusion 3's", 4),
        )
        if vae_encoder is not None:
            replace_vae_encoder(vae, vae_encoder)
            files.append((Path(vae_encoder), Path(vae_encoder).name, COZ_LICENCE))
        with quiet_loading():
            vae.to(torch.float32 if kind == torch.float16 and vae.config.force_upcast else kind)
            if channels_last:
                vae.to(memory_format=torch.channels_last)

        prompts = SD3Prompts.from_folder(folder, placement, kind, quantise_t5=quantise_t5)
        widths = [placement.config(name) for name in ("clip_l", "clip_g", "t5")]
        pooled = widths[0].projection_dim + widths[1].projection_dim
        check_pairs(
            folder,
            ("transformer joint_attention_dim", transformer.config.joint_attention_dim, "T5 d_model", widths[2].d_model),
            ("transformer pooled_projection_dim", transformer.config.pooled_projection_dim, "both CLIP projection_dim", pooled),
        )
        with out_of_memory_advice("osediff_sd3", memory):
            placement.add("vae", vae, "core")
            placement.add("transformer", transformer, "core")
        if compile is not None:
            transformer.compile(backend=compile)
        backbone = cls(
            transformer,
            Latents(placement, vae.config, posterior=posterior, tile=tile),
            prompts,
            placement,
            updates,
            timestep=float(scheduler.get("num_train_timesteps", 1000)),
            shifts=(shifts[0] * vae.config.shift_factor, shifts[1] * vae.config.shift_factor),
            files=files,
        )
        if lora is not None:
            backbone._adapter_files[OFFICIAL] = (Path(lora), Path(lora).name, COZ_LICENCE)
        for name, path in (adapters or {}).items():
            backbone.load_adapter(path, name)
        return backbone

    @property
    def facts(self) -> BackboneFacts:
        """Facts with every file's hash (computed on first use, see ``weights.cached_sha256``); they change only with the adapters."""
        with self._lock:
            if self._facts is None:
                merged = [self._adapter_files[name] for name in self.updates.merged if name in self._adapter_files]
                weights = tuple(describe_file(*entry) for entry in [*self._files, *merged])
                self._facts = BackboneFacts(
                    "osediff_sd3",
                    min_size=16,
                    uses_prompt=True,
                    stochastic=self._latents.stochastic,
                    input="upscaled",
                    weights=weights,
                    generative=True,
                )
            return self._facts

    def upscale(self, image: Image, prompt: str = "", noise: Any = None, *, seed: int = 0) -> Image:
        """Sharpen ``image`` (H, W, 3) in [0, 1], already at output size; the result has the same size.

        ``noise`` (1, 16, H/8, W/8) replaces the posterior's seeded draw (for comparison with recorded runs).
        """
        return self.upscale_batch([image], [prompt], [seed], noise=noise)[0]

    def upscale_batch(
        self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int] | None = None, noise: Any = None
    ) -> list[Image]:
        """Many pictures of one size in one pass. Rounding may differ from one-by-one calls in the last bits."""
        if not images:
            return []
        pixels, drawn = checked_batch("osediff_sd3", images, prompts, seeds, 16)
        height, width = pixels.shape[-2:]
        with self._lock, self._lane(), torch.no_grad(), out_of_memory_advice("osediff_sd3", self._placement.memory):
            embeds, pooled = self.prompts.encode(prompts)
            latent = self._latents.encode(pad_to_multiple(pixels, 16), drawn, noise, shift=self._shifts[0])
            with self._placement.use("transformer"):
                latent = self._latents.in_windows(latent, lambda part: self._step(part, embeds, pooled))
            output = self._latents.decode(latent, shift=self._shifts[1])[..., :height, :width]
            return to_images(output)

    def truncation(self, prompt: str) -> dict[str, int]:
        """Tokens of the prompt that each text encoder cannot see; zeros when all is used."""
        return self.prompts.truncation(prompt)

    def load_adapter(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        strength: float = 1.0,
        alpha: float | None = None,
        licence: str = "as published with the adapter",
    ) -> None:
        """Merge a PEFT adapter of the transformer (OracleZoom's form) on top, in float32. WeightsError when a tensor is not used."""
        with self._lock:
            factors, file = read_adapter(path, alpha)
            self.updates.load(name, factors, file)
            self.updates.merge(name, strength)
            self._adapter_files[name] = (file, f"{name}/{file.name}", licence)
            self._facts = None

    def unload_adapter(self, name: str) -> None:
        """Take an adapter (or ``official``) out; the weights are again exactly those before it."""
        with self._lock:
            self.updates.unload(name)
            self._adapter_files.pop(name, None)
            self._facts = None

    def save_lora(self, path: str | os.PathLike[str], name: str = OFFICIAL) -> None:
        """Write a set of AdaLayerNormZero updates as the authors' flat list (float32)."""
        write_official(path, self.updates.factors(name), self._transformer)

    def _step(self, latent: torch.Tensor, embeds: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """The whole way from the first to the last timestep in one go; float32 in and out."""
        timestep = torch.full((latent.shape[0],), self._timestep, device=latent.device)
        velocity: torch.Tensor = self._transformer(
            hidden_states=latent.to(embeds.dtype),
            timestep=timestep,
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return latent - velocity.float()
