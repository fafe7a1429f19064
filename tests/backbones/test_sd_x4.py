"""The multi-step x4 upscaler on a tiny random folder."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from chainzoom.backbones.sd_x4 import SDx4
from chainzoom.errors import OptionError, WeightsError
from tests.backbones.tiny_models import tiny_x4
from tests.conftest import natural


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_x4(tmp_path_factory.mktemp("x4"))


@pytest.fixture(scope="module")
def backbone(folder: Path) -> SDx4:
    return SDx4.from_files(folder, steps=2, guidance=3.0)


def test_the_same_as_the_library_pipeline(folder: Path, backbone: SDx4) -> None:
    """Against diffusers' own loading and text encoding, same seed."""
    from diffusers import AutoencoderKL, StableDiffusionUpscalePipeline

    index = {
        "_class_name": "StableDiffusionUpscalePipeline",
        "_diffusers_version": "0.32.0",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "low_res_scheduler": ["diffusers", "DDPMScheduler"],
        "max_noise_level": 350,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    vae.register_to_config(scaling_factor=0.08333)
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(folder, vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    image = natural(16, 24)
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None])
    generator = [torch.Generator().manual_seed(7)]
    expected = pipeline(
        ["fur"], tensor, num_inference_steps=2, guidance_scale=3.0, generator=generator, negative_prompt=[""], output_type="np"
    ).images[0]
    got = backbone.upscale(image, "fur", seed=7)
    assert got.shape == (64, 96, 3)
    assert np.abs(got - expected).max() < 1e-4
    assert expected.std() > 0.01


def test_words_and_seed_matter_and_repeat(backbone: SDx4) -> None:
    image = natural(16, 16)
    first = backbone.upscale(image, "fur", seed=1)
    assert np.array_equal(first, backbone.upscale(image, "fur", seed=1))
    assert not np.array_equal(first, backbone.upscale(image, "stone", seed=1))
    assert not np.array_equal(first, backbone.upscale(image, "fur", seed=2))


def test_any_size_and_batches(backbone: SDx4) -> None:
    images = [natural(13, 18, seed) for seed in (1, 2)]
    together = backbone.upscale_batch(images, ["fur", ""], [3, 4])
    assert [image.shape for image in together] == [(52, 72, 3)] * 2
    for image, prompt, seed, got in zip(images, ("fur", ""), (3, 4), together, strict=True):
        assert np.abs(backbone.upscale(image, prompt, seed=seed) - got).max() < 1e-3


def test_guidance_changes_the_picture(folder: Path, backbone: SDx4) -> None:
    image = natural(16, 16)
    without = SDx4.from_files(folder, steps=2, guidance=1.0)
    assert np.abs(without.upscale(image, "fur") - backbone.upscale(image, "fur")).max() > 1e-3


def test_facts(backbone: SDx4) -> None:
    assert (backbone.facts.scale, backbone.facts.input, backbone.facts.stochastic) == (4, "lowres", True)
    assert {w.name.split("/")[1] for w in backbone.facts.weights} == {"unet", "vae", "text_encoder"}


def test_options_and_wrong_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"0\.\.350"):
        SDx4.from_files(folder, noise_level=400)
    with pytest.raises(OptionError, match="steps must be"):
        SDx4.from_files(folder, steps=0)
    with pytest.raises(WeightsError, match="missing"):
        SDx4.from_files(tmp_path / "nothing")
    from tests.backbones.tiny_models import tiny_sd21

    other = tiny_sd21(tmp_path / "sd21")
    for name in ("low_res_scheduler", "model_index.json"):
        source = folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, other / name)
    with pytest.raises(WeightsError, match="no x4 upscaler"):
        SDx4.from_files(other)
