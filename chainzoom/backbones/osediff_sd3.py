"""OSEDiff on Stable Diffusion 3 medium: the official Chain-of-Zoom backbone, one step from a blurred picture to a sharp one.

z = posterior(encode(x)) * scaling; z <- z - v(z, t = 1000, prompt); y = decode(z / scaling + shift). After the
authors' point-zoom inference.
Full size needs ``stabilityai/stable-diffusion-3-medium-diffusers`` and the authors' ``model_20001.pkl`` and ``vae_encoder_20001.pt``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.adapters import read_adapter
from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.checkpoints import (
    as_tensors,
    check_state,
    describe_file,
    existing,
    lazy_reader,
    load_part,
    read_json,
    read_pickle,
    tensor_files,
)
from chainzoom.backbones.latent_tiles import in_windows
from chainzoom.backbones.lora import OFFICIAL_RANK, PEFT_DEFAULT_ALPHA, LowRankUpdates, merge_wrapped_state, read_official, write_official
from chainzoom.backbones.placement import Placement, parse_quantise
from chainzoom.backbones.sd3_prompts import ENCODERS, SD3Prompts
from chainzoom.backbones.torch_common import (
    out_of_memory_advice,
    pad_to_multiple,
    parse_choice,
    parse_device,
    parse_dtype,
    quiet_loading,
    require,
    seeded_noise,
    to_images,
    to_tensor,
    torch,
)
from chainzoom.errors import ImageError, OptionError, WeightsError
from chainzoom.images import Image

SHIFTS = ("point", "training", "full")
POSTERIORS = ("sample", "mean")
OFFICIAL = "official"
"""Name of the authors' LoRA among the updates."""
SD3_LICENCE = "Stable Diffusion 3 medium: gated; Stability AI Community licence or non-commercial"
COZ_LICENCE = "Chain-of-Zoom release (MIT code), made from Stable Diffusion 3 medium, whose licence holds too"


class OSEDiffSD3:
    """One-step super-resolution steered by words. Build it with ``from_files``."""

    def __init__(
        self, transformer: Any, vae: Any, prompts: SD3Prompts, placement: Placement, updates: LowRankUpdates, *,
        timestep: float, shift: str, posterior: str, tile: int, files: Sequence[tuple[Path, str, str]],
    ) -> None:  # fmt: skip
        self._transformer, self._vae, self._placement = transformer, vae, placement
        self.prompts, self.updates = prompts, updates
        self._timestep = timestep
        self._shift, self._posterior = parse_choice("shift", shift, SHIFTS), parse_choice("posterior", posterior, POSTERIORS)
        self._tile, self._files = tile, list(files)
        self._adapter_files: dict[str, tuple[Path, str, str]] = {}
        self._facts: BackboneFacts | None = None
        self._lock = threading.RLock()

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
        tile: int = 1024,
        lora_rank: int = OFFICIAL_RANK,
        licence: str = SD3_LICENCE,
    ) -> OSEDiffSD3:
        """Read a diffusers folder and the authors' two files (None: leave that one out), merge in float32, cast to ``dtype``.

        device       torch's name; dtype: ``float32`` (as published), ``bfloat16``, ``float16`` (VAE: float32 if its config says so)
        memory       ``fast``, ``balanced`` or ``low``: see ``placement.Placement``
        shift        VAE shift factor: ``point`` adds it at the decoder only (the released checkpoint's inference), ``training`` also
                     subtracts it after the encoder, ``full`` leaves it out on both sides (full-image inference)
        posterior    ``sample`` (seeded) or ``mean``
        quantise_t5  ``int8`` keeps T5's weights in 8 bits (torchao)
        compile      a ``torch.compile`` backend for the transformer, e.g. ``inductor``; None: off
        tile         sides above this many pixels are worked in windows of half of it

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
        if tile < 128 or tile % 32:
            raise OptionError(f"tile must be a multiple of 32 and at least 128 pixels, not {tile}")

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
        if vae_encoder is not None:
            replace_vae_encoder(vae, vae_encoder)
            files.append((Path(vae_encoder), Path(vae_encoder).name, COZ_LICENCE))
        with quiet_loading():
            vae.to(torch.float32 if kind == torch.float16 and vae.config.force_upcast else kind)

        prompts = SD3Prompts.from_folder(folder, placement, kind, quantise_t5=parse_quantise(quantise_t5))
        with out_of_memory_advice("osediff_sd3", memory):
            placement.add("vae", vae, "core")
            placement.add("transformer", transformer, "core")
        if compile is not None:
            transformer.compile(backend=compile)
        backbone = cls(
            transformer, vae, prompts, placement, updates, timestep=float(scheduler.get("num_train_timesteps", 1000)),
            shift=shift, posterior=posterior, tile=tile, files=files,
        )  # fmt: skip
        if lora is not None:
            backbone._adapter_files[OFFICIAL] = (Path(lora), Path(lora).name, COZ_LICENCE)
        return backbone

    @property
    def facts(self) -> BackboneFacts:
        """Facts with every file's hash (computed on first use, see ``checkpoints.cached_sha256``); they change only with the adapters."""
        with self._lock:
            if self._facts is None:
                merged = [self._adapter_files[name] for name in self.updates.merged if name in self._adapter_files]
                weights = tuple(describe_file(*entry) for entry in [*self._files, *merged])
                self._facts = BackboneFacts(
                    "osediff_sd3", min_size=16, uses_prompt=True, stochastic=self._posterior == "sample", input="upscaled", weights=weights
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
        """Many pictures of one size in one pass. Rounding may differ from one-by-one calls in the last bits; noise and prompts do not."""
        seeds = list(seeds) if seeds is not None else [0] * len(images)
        if not (len(images) == len(prompts) == len(seeds)):
            raise OptionError(
                f"a batch needs one prompt and one seed a picture: {len(images)} pictures, {len(prompts)} prompts, {len(seeds)} seeds"
            )
        if not images:
            return []
        pixels = to_tensor(images)
        height, width = pixels.shape[-2:]
        if min(height, width) < 16:
            raise ImageError(f"osediff_sd3 needs at least 16x16 pixels, got {width}x{height}; zoom less or use a larger --size")
        with self._lock, torch.inference_mode(), out_of_memory_advice("osediff_sd3", self._placement.memory):
            embeds, pooled = self.prompts.encode(prompts)
            latent = self._encode(pad_to_multiple(pixels, 16), seeds, noise)
            with self._placement.use("transformer"):
                latent = in_windows(latent, *self._window(latent), lambda part: part - self._velocity(part, embeds, pooled))
            output = self._decode(latent)[..., :height, :width]
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

    def _encode(self, pixels: torch.Tensor, seeds: Sequence[int], noise: Any) -> torch.Tensor:
        """Latent (B, 16, H/8, W/8) in the transformer's precision."""
        config = self._vae.config
        with self._placement.use("vae") as vae:
            self._set_tiling(vae, max(pixels.shape[-2:]))
            posterior = vae.encode(pixels.to(self._placement.device, vae.dtype)).latent_dist
        latent = posterior.mean.float()
        if self._posterior == "sample" or noise is not None:
            draw = self._draw(tuple(latent.shape), seeds, noise)
            latent = latent + posterior.std.float() * draw.to(latent.device)
        if self._shift == "training":
            latent = latent - config.shift_factor
        return (latent * config.scaling_factor).to(self._transformer.dtype)

    def _draw(self, shape: tuple[int, ...], seeds: Sequence[int], noise: Any) -> torch.Tensor:
        if noise is None:
            return seeded_noise(shape[1:], seeds)
        given = noise.float().cpu() if torch.is_tensor(noise) else torch.tensor(noise, dtype=torch.float32)
        missing = (shape[-2] - given.shape[-2], shape[-1] - given.shape[-1]) if given.dim() == 4 else (-1, -1)
        if tuple(given.shape[:2]) != shape[:2] or not all(0 <= short <= 1 for short in missing):
            raise OptionError(f"noise must have the shape {shape}, not {tuple(given.shape)}")
        return torch.nn.functional.pad(given, (0, missing[1], 0, missing[0]))  # the padded rim has no recorded noise

    def _velocity(self, latent: torch.Tensor, embeds: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        timestep = torch.full((latent.shape[0],), self._timestep, device=latent.device)
        answer: torch.Tensor = self._transformer(
            hidden_states=latent, timestep=timestep, encoder_hidden_states=embeds, pooled_projections=pooled, return_dict=False
        )[0]
        return answer

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [-1, 1], not clamped."""
        config = self._vae.config
        shift = 0.0 if self._shift == "full" else config.shift_factor
        with self._placement.use("vae") as vae:
            pixels: torch.Tensor = vae.decode((latent.float() / config.scaling_factor + shift).to(vae.dtype), return_dict=False)[0]
        return pixels

    def _window(self, latent: torch.Tensor) -> tuple[int, int]:
        """Side and overlap of the transformer's windows, in latent pixels: half the tile where a side exceeds it, a quarter shared."""
        side = max(latent.shape[-2:])
        return (side, 0) if side * 8 <= self._tile else (self._tile // 16, self._tile // 64)

    def _set_tiling(self, vae: Any, side: int) -> None:
        vae.tile_sample_min_size, vae.tile_latent_min_size = self._tile, self._tile // 8
        if side > self._tile:
            vae.enable_tiling()
        else:
            vae.disable_tiling()


def replace_vae_encoder(vae: Any, path: str | os.PathLike[str], alpha: float = PEFT_DEFAULT_ALPHA) -> None:
    """Put the authors' ``vae_encoder_*.pt`` (whole encoder, PEFT-wrapped names, scale alpha / rank) into a VAE, merged in float32."""
    file = Path(path)
    state = merge_wrapped_state(as_tensors(read_pickle(file, "VAE encoder file"), file, "VAE encoder file"), alpha, file)
    check_state(file, vae.encoder.state_dict(), state)
    vae.encoder.load_state_dict(state)
