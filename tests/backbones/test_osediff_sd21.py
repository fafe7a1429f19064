"""OSEDiff on SD2.1 against an independent reference: PEFT's unmerged adapters on the real classes and diffusers' DDPM step."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from chainzoom.backbones.osediff_sd21 import OSEDiffSD21
from chainzoom.errors import WeightsError
from chainzoom.images import psnr
from tests.backbones.tiny_models import osediff_pkl, tiny_sd21, with_osediff_adapters
from tests.conftest import natural


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from diffusers import AutoencoderKL, UNet2DConditionModel

    folder = tiny_sd21(tmp_path_factory.mktemp("sd21"))
    unet, vae = UNet2DConditionModel.from_pretrained(folder / "unet").eval(), AutoencoderKL.from_pretrained(folder / "vae").eval()
    lists = with_osediff_adapters(unet, vae)
    return folder, osediff_pkl(folder / "osediff.pkl", unet, vae, lists), unet, vae


@pytest.fixture(scope="module")
def backbone(files):
    return OSEDiffSD21.from_files(files[0], files[1])


def reference(folder: Path, unet, vae, image, prompt: str, noise):
    """What OSEDiff computes, written with the libraries' own parts."""
    from diffusers import DDPMScheduler
    from transformers import AutoTokenizer, CLIPTextModel

    encoder, tokenizer = CLIPTextModel.from_pretrained(folder / "text_encoder").eval(), AutoTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(timesteps=[999])
    with torch.inference_mode():
        ids = tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        posterior = vae.encode(torch.from_numpy(image.transpose(2, 0, 1)[None]) * 2 - 1).latent_dist
        latent = (posterior.mean + posterior.std * noise) * vae.config.scaling_factor
        answer = unet(latent, 999, encoder_hidden_states=encoder(ids)[0]).sample
        clean = scheduler.step(answer, 999, latent, generator=torch.Generator().manual_seed(0)).prev_sample
        pixels = vae.decode(clean / vae.config.scaling_factor).sample.clamp(-1, 1)
    return (pixels[0].numpy().transpose(1, 2, 0) + 1) / 2


def test_merged_equals_peft_and_ddpm(files, backbone) -> None:
    folder, _, unet, vae = files
    image, noise = natural(64, 96), torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(3))
    expected = reference(folder, unet, vae, image, "fur and leaf", noise)
    got = backbone.upscale(image, "fur and leaf", noise=noise)
    assert got.shape == image.shape
    assert got.dtype == np.float32
    assert psnr(got, expected) > 90
    assert expected.std() > 0.02, "a flat reference would prove nothing"


def test_velocity_prediction(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    folder = tiny_sd21(tmp_path, "v_prediction")
    unet, vae = UNet2DConditionModel.from_pretrained(folder / "unet").eval(), AutoencoderKL.from_pretrained(folder / "vae").eval()
    path = osediff_pkl(tmp_path / "osediff.pkl", unet, vae, with_osediff_adapters(unet, vae))
    image, noise = natural(32, 32), torch.zeros((1, 4, 4, 4))
    expected = reference(folder, unet, vae, image, "", noise)
    assert psnr(OSEDiffSD21.from_files(folder, path, posterior="mean").upscale(image), expected) > 90


def test_words_and_seed_matter_and_repeat(backbone) -> None:
    image = natural(40, 56)
    first = backbone.upscale(image, "fur", seed=1)
    assert np.array_equal(first, backbone.upscale(image, "fur", seed=1))
    assert not np.array_equal(first, backbone.upscale(image, "stone", seed=1))
    assert not np.array_equal(first, backbone.upscale(image, "fur", seed=2))


def test_facts(backbone) -> None:
    facts = backbone.facts
    assert (facts.name, facts.input, facts.uses_prompt, facts.stochastic) == ("osediff_sd21", "upscaled", True, True)
    assert [w.name.split("/")[-1] for w in facts.weights][-1] == "osediff.pkl"
    assert all(len(w.sha256) == 64 for w in facts.weights)
    assert backbone.truncation("fur") == {"clip": 0}
    assert backbone.truncation("a b c d e " * 40)["clip"] > 0


def edited(files, tmp_path: Path, change) -> Path:
    content = torch.load(files[1], weights_only=True)
    change(content)
    torch.save(content, tmp_path / "edited.pkl")
    return tmp_path / "edited.pkl"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("state_dict_vae"), "lacks state_dict_vae"),
        (lambda c: c.update(rank_unet=8), "rank 4, the file says 8"),
        (lambda c: c["unet_lora_others_modules"].append("mid_block.nothing"), "differ"),
        (
            lambda c: c["state_dict_unet"].update({"down_blocks.0.extra.weight": torch.zeros(1)}),
            "another model|has no attribute|does not fit",
        ),
        (lambda c: c["state_dict_unet"].pop(next(k for k in c["state_dict_unet"] if "lora_B" in k)), "has only lora_A"),
    ],
)
def test_a_wrong_file_is_named(files, tmp_path: Path, change, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as error:
        OSEDiffSD21.from_files(files[0], edited(files, tmp_path, change))
    assert "edited.pkl" in str(error.value)
