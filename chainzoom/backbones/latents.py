"""Pixels to latents and back for one-step backbones: the VAE with its placement, the posterior's draw, and tiles for large pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.checkpoints import as_tensors, check_state
from chainzoom.backbones.latent_tiles import in_windows
from chainzoom.backbones.lora import PEFT_DEFAULT_ALPHA, merge_wrapped_state
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.torch_common import parse_choice, seeded_noise, torch
from chainzoom.errors import OptionError
from chainzoom.torch_io import read_pickle

POSTERIORS = ("sample", "mean")
FACTOR = 8
"""Pixels a latent pixel, along one side."""


class Latents:
    """A VAE (a part called ``vae`` of the placement), used with the options of one backbone.

    posterior  ``sample`` (seeded) or ``mean``
    tile       sides above this many pixels are worked in windows: the VAE in tiles of this size, the network in windows of half of it
    """

    def __init__(self, placement: Placement, config: Any, *, posterior: str = "sample", tile: int = 1024) -> None:
        parse_latents(posterior, tile)
        self._placement, self._config, self._tile, self._posterior = placement, config, tile, posterior

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self._posterior == "sample"

    def encode(self, pixels: torch.Tensor, seeds: Sequence[int], noise: Any, *, shift: float = 0.0) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] to (posterior - shift) * scaling_factor, float32 (B, C, H/8, W/8) on the device.

        ``noise`` (B, C, H/8, W/8), array or tensor, replaces the seeded draw; a row or column that only padding added may be left out.
        """
        with self._placement.use("vae") as vae:
            self._set_tiling(vae, max(pixels.shape[-2:]))
            posterior = vae.encode(pixels.to(self._placement.device, vae.dtype)).latent_dist
        latent: torch.Tensor = posterior.mean.float()
        if self.stochastic or noise is not None:
            draw = _draw(tuple(latent.shape), seeds, noise)
            latent = latent + posterior.std.float() * draw.to(latent.device)
        scaled: torch.Tensor = (latent - shift) * self._config.scaling_factor
        return scaled

    def decode(self, latent: torch.Tensor, *, shift: float = 0.0) -> torch.Tensor:
        """The inverse: pixels (B, 3, H, W) in about [-1, 1], not clamped."""
        with self._placement.use("vae") as vae:
            inner = (latent.float() / self._config.scaling_factor + shift).to(vae.dtype)
            pixels: torch.Tensor = vae.decode(inner, return_dict=False)[0]
        return pixels

    def in_windows(self, latent: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``run`` on the latent: whole up to the tile size, else in windows of half of it, a quarter shared (64 and 16 by default)."""
        whole = max(latent.shape[-2:]) * FACTOR <= self._tile
        window = self._tile // FACTOR if whole else self._tile // FACTOR // 2
        return in_windows(latent, window, window // 4, run)

    def _set_tiling(self, vae: Any, side: int) -> None:
        vae.tile_sample_min_size, vae.tile_latent_min_size = self._tile, self._tile // FACTOR
        if side > self._tile:
            vae.enable_tiling()
        else:
            vae.disable_tiling()


def parse_latents(posterior: str, tile: int) -> None:
    """OptionError unless both can be used; called before weights are read."""
    parse_choice("posterior", posterior, POSTERIORS)
    if tile < 128 or tile % 128:
        raise OptionError(f"tile must be a multiple of 128 pixels, not {tile}")


def _draw(shape: tuple[int, ...], seeds: Sequence[int], noise: Any) -> torch.Tensor:
    if noise is None:
        return seeded_noise(shape[1:], seeds)
    given = noise.float().cpu() if torch.is_tensor(noise) else torch.tensor(noise, dtype=torch.float32)
    short = (shape[-2] - given.shape[-2], shape[-1] - given.shape[-1]) if given.dim() == 4 else (-1, -1)
    if tuple(given.shape[:2]) != shape[:2] or not all(0 <= rows <= 1 for rows in short):
        raise OptionError(f"noise must have the shape {shape}, not {tuple(given.shape)}")
    return torch.nn.functional.pad(given, (0, short[1], 0, short[0]))


def replace_vae_encoder(vae: Any, path: str | os.PathLike[str], alpha: float = PEFT_DEFAULT_ALPHA) -> None:
    """Put the authors' ``vae_encoder_*.pt`` (whole encoder, PEFT-wrapped names, scale alpha / rank) into a VAE, merged in float32."""
    file, what = Path(path), "VAE encoder file"
    state = merge_wrapped_state(as_tensors(read_pickle(file, what), file, what), alpha, file)
    check_state(file, vae.encoder.state_dict(), state)
    vae.encoder.load_state_dict(state)
