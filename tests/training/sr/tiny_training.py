"""Tiny models that can learn, pictures to learn from, and configurations for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage

from chainzoom.training.sr.lpips import random_weights
from tests.conftest import natural

GOLDEN = Path(__file__).parents[2] / "golden" / "osediff_sd3_tiny_a" / "model"


def pictures(folder: Path, side: int = 32, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        smooth, rough = (
            natural(side, side, number),
            np.random.default_rng(number).random((side // 2, side // 2, 3)).repeat(2, 0).repeat(2, 1),
        )
        PILImage.fromarray((smooth * 127 + rough * 128).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def learnable_sd3(folder: Path, photos: Path, steps: int = 250) -> Path:
    """The tiny Stable Diffusion 3 with a VAE that was trained to give these pictures back: a random decoder can show nothing."""
    from diffusers import AutoencoderKL

    shutil.copytree(GOLDEN, folder)
    files = sorted(photos.glob("*.png"))
    pixels = torch.stack([torch.from_numpy(np.asarray(PILImage.open(file)).copy()).permute(2, 0, 1) for file in files]) / 127.5 - 1
    vae = AutoencoderKL.from_pretrained(folder / "vae").train()
    optimiser = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = torch.nn.functional.mse_loss(vae.decode(vae.encode(pixels).latent_dist.mean).sample, pixels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():  # a posterior without spread: what is drawn is what was meant
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = -12
    vae.save_pretrained(folder / "vae")
    return folder


def configuration(model: Path, photos: Path, out: Path, **changes: object) -> str:
    """TOML of a small run: no LPIPS, pictures of 32 pixels; ``changes`` are ``section__key`` or ``key``."""
    values: dict[str, dict[str, object]] = {
        "": {"out": str(out), "recipe": "osediff_sd3", "batch": 1, "accumulation": 1, "device": "cpu", "save_every": 1000},
        "network": {"model_dir": str(model)},
        "loss": {"lpips": 0.0},
        "data": {"crop": 32, "workers": 0},
        "optimiser": {},
        "validation": {},
        "prompts": {},
    }
    steps, degradation = changes.pop("steps", 2), changes.pop("degradation", "bicubic")
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        values[section][key] = value
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.pop("").items()]
    for section, table in values.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    lines += ["[[data.sources]]", f"path = {json.dumps(str(photos))}", "[[stages]]", f"steps = {steps}", f'degradation = "{degradation}"']
    return "\n".join(lines) + "\n"


def vgg_files(folder: Path) -> dict[str, str]:
    """Random VGG16 weights in the files' layouts, as the options that name them."""
    convolutions, linear = random_weights(0)
    torch.save(convolutions, folder / "vgg16.pt")
    torch.save(linear, folder / "linear.pt")
    return {"loss__vgg": str(folder / "vgg16.pt"), "loss__lpips_linear": str(folder / "linear.pt")}
