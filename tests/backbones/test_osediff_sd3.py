"""The official backbone against the authors' own output on tiny random checkpoints, and everything it promises around that."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from safetensors.torch import load_file

from chainzoom.backbones.base import Backbone
from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.chain import Chain
from chainzoom.errors import BackendError, ImageError, OptionError
from chainzoom.images import psnr
from tests.backbones.tiny_models import CASES
from tests.conftest import natural, read8


def load(case: Path, **options) -> OSEDiffSD3:
    return OSEDiffSD3.from_files(case / "model", lora=case / "sr_lora.pkl", vae_encoder=case / "vae_encoder.pt", **options)


def picture(tensor):
    return (tensor[0].permute(1, 2, 0).numpy() / 2 + 0.5).clip(0, 1)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name[-1])
def case(request):
    folder = request.param
    return (
        load(folder),
        read8(folder / "input.png"),
        json.loads((folder / "case.json").read_text())["prompt"],
        load_file(folder / "expected.safetensors"),
    )


@pytest.fixture(scope="module")
def backbone() -> OSEDiffSD3:
    return load(CASES[0])


# What the authors' code computes


def test_output_equals_the_official_one(case) -> None:
    model, image, prompt, golden = case
    for words, name in ((prompt, "output_prompt"), ("", "output_null")):
        got = model.upscale(image, words, noise=golden["noise"])
        assert got.shape == image.shape
        assert got.dtype == np.float32
        assert psnr(got, picture(golden[name])) >= 70


def test_prompt_embeddings_equal_the_official_ones(case) -> None:
    model, _, prompt, golden = case
    with torch.inference_mode():
        embeds, pooled = model.prompts.encode([prompt, ""])
    for row, name in enumerate(("prompt", "null")):
        assert (embeds[row] - golden[f"prompt_embeds_{name}"][0]).abs().max() < 1e-4
        assert (pooled[row] - golden[f"pooled_{name}"][0]).abs().max() < 1e-4


def test_words_change_the_picture_as_officially(case) -> None:
    model, image, prompt, golden = case
    ours = model.upscale(image, prompt, noise=golden["noise"]) - model.upscale(image, "", noise=golden["noise"])
    theirs = picture(golden["output_prompt"]) - picture(golden["output_null"])
    assert np.abs(theirs).max() > 0.01
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()


def test_the_lora_is_what_makes_the_official_picture(case) -> None:
    model, image, prompt, golden = case
    with_lora = model.upscale(image, prompt, noise=golden["noise"])
    model.updates.unmerge("official")
    without = model.upscale(image, prompt, noise=golden["noise"])
    model.updates.merge("official")
    assert psnr(without, picture(golden["output_prompt"])) < 30
    assert np.array_equal(model.upscale(image, prompt, noise=golden["noise"]), with_lora)


@pytest.mark.parametrize(("shift", "before", "after"), [("point", 0, 1), ("training", 1, 1), ("full", 0, 0)])
def test_shift_factor_modes(backbone, shift: str, before: int, after: int) -> None:
    """Against the recorded posterior and the libraries' parts, with the LoRA added here by hand."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel

    folder = CASES[0]
    golden, image = load_file(folder / "expected.safetensors"), read8(folder / "input.png")
    vae, transformer = (
        AutoencoderKL.from_pretrained(folder / "model/vae"),
        SD3Transformer2DModel.from_pretrained(folder / "model/transformer"),
    )
    lora = torch.load(folder / "sr_lora.pkl", weights_only=True)
    norms = [
        norm
        for block in transformer.transformer_blocks
        for norm in (block.norm1, block.norm1_context)
        if type(norm).__name__ == "AdaLayerNormZero"
    ]
    with torch.inference_mode():
        for norm, up, down in zip(norms, lora[::2], lora[1::2], strict=True):
            norm.linear.weight += up @ down
        sample = golden["posterior_mean"] + golden["posterior_std"] * golden["noise"]
        latent = (sample - before * vae.config.shift_factor) * vae.config.scaling_factor
        velocity = transformer(latent, golden["prompt_embeds_prompt"], golden["pooled_prompt"], torch.tensor([1000.0])).sample
        expected = vae.decode((latent - velocity) / vae.config.scaling_factor + after * vae.config.shift_factor).sample
    prompt = json.loads((folder / "case.json").read_text())["prompt"]
    got = load(folder, shift=shift).upscale(image, prompt, noise=golden["noise"])
    assert psnr(got, picture(expected)) > 65
    if shift != "point":
        assert psnr(got, picture(golden["output_prompt"])) < 60


# Seeds, noise, sizes


def test_seeds_are_honoured(backbone) -> None:
    image = natural(32, 48)
    first = backbone.upscale(image, "fur", seed=1)
    assert np.array_equal(first, backbone.upscale(image, "fur", seed=1))
    assert not np.array_equal(first, backbone.upscale(image, "fur", seed=2))
    assert np.isfinite(backbone.upscale(image, seed=-5)).all()


def test_the_posterior_mean_needs_no_seed(backbone) -> None:
    image, mean = natural(32, 48), load(CASES[0], posterior="mean")
    assert np.array_equal(mean.upscale(image, seed=1), mean.upscale(image, seed=2))
    assert np.array_equal(mean.upscale(image), backbone.upscale(image, noise=np.zeros((1, 16, 4, 6))))
    assert (mean.facts.stochastic, backbone.facts.stochastic) == (False, True)


def test_noise_may_be_an_array_or_a_tensor(backbone) -> None:
    image, noise = natural(32, 48), np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    noise.flags.writeable = False
    assert np.array_equal(backbone.upscale(image, noise=noise), backbone.upscale(image, noise=torch.tensor(noise)))
    with pytest.raises(OptionError, match=r"noise must have the shape \(1, 16, 4, 6\), not \(1, 16, 4, 4\)"):
        backbone.upscale(image, noise=noise[..., :4])


@pytest.mark.parametrize("size", [(50, 70), (16, 17), (24, 40)])
def test_any_size_is_padded_and_cropped(backbone, size) -> None:
    image = natural(*size)
    got = backbone.upscale(image, "fur")
    assert got.shape == image.shape
    assert (got >= 0).all()
    assert (got <= 1).all()
    if size == (24, 40):  # 24 is a multiple of 8 only: noise of the picture's own latent size is taken
        assert backbone.upscale(image, noise=np.zeros((1, 16, 3, 5))).shape == image.shape


def test_too_small_or_wrong_pictures(backbone) -> None:
    with pytest.raises(ImageError, match="at least 16x16"):
        backbone.upscale(natural(8, 32))
    with pytest.raises(ImageError, match=r"expected \(H, W, 3\)"):
        backbone.upscale(np.zeros((32, 32), np.float32))


def test_large_pictures_go_by_tiles() -> None:
    tiled, whole = load(CASES[0], tile=128), load(CASES[0])
    image = natural(96, 160)
    got = tiled.upscale(image, "fur", seed=3)
    assert got.shape == image.shape
    assert np.array_equal(got, tiled.upscale(image, "fur", seed=3))
    assert not np.array_equal(got, whole.upscale(image, "fur", seed=3))
    small = natural(96, 128)
    assert np.array_equal(tiled.upscale(small, "fur", seed=3), whole.upscale(small, "fur", seed=3))


def test_batches(backbone) -> None:
    images, prompts, seeds = [natural(32, 48, n) for n in (1, 2, 3)], ["fur", "", "fur"], [4, 5, 6]
    together = backbone.upscale_batch(images, prompts, seeds)
    for image, prompt, seed, got in zip(images, prompts, seeds, together, strict=True):
        assert np.abs(backbone.upscale(image, prompt, seed=seed) - got).max() < 1e-4
    assert backbone.upscale_batch([], [], []) == []
    with pytest.raises(OptionError, match="3 pictures, 2 prompts"):
        backbone.upscale_batch(images, prompts[:2], seeds)
    with pytest.raises(ImageError, match="one size"):
        backbone.upscale_batch([natural(32, 48), natural(32, 32)], ["", ""], [0, 0])


# Prompts


def test_prompts_are_encoded_once() -> None:
    model = load(CASES[0])
    image = natural(16, 16)
    for prompt in ("", "fur", "", "fur", ""):
        model.upscale(image, prompt)
    model.upscale_batch([image] * 3, ["fur", "leaf", "leaf"])
    assert model.prompts.encoded == 3


def test_the_oldest_prompt_leaves_the_cache() -> None:
    model = load(CASES[0])
    model.prompts._cache_size = 2
    with torch.inference_mode():
        for prompt in ("a", "b", "a", "c", "a"):  # c pushes b out, a was used more recently
            model.prompts.encode([prompt])
        assert model.prompts.encoded == 3
        model.prompts.encode(["b"])
    assert model.prompts.encoded == 4


def test_cut_prompts_are_told(backbone, caplog) -> None:
    assert backbone.truncation("fur") == {"clip_l": 0, "clip_g": 0, "t5": 0}
    long = "q x z " * 40
    cut = backbone.truncation(long)
    assert cut["clip_l"] > 0
    assert cut["clip_l"] == cut["clip_g"]
    with caplog.at_level(logging.WARNING):
        backbone.upscale(natural(16, 16), long)
    assert f"clip_l misses {cut['clip_l']} tokens" in caplog.text


# Memory, precision


@pytest.mark.parametrize("memory", ["balanced", "low"])
def test_memory_modes_give_the_same_bytes(backbone, memory: str) -> None:
    image = natural(32, 32)
    assert np.array_equal(load(CASES[0], memory=memory).upscale(image, "fur", seed=1), backbone.upscale(image, "fur", seed=1))


@pytest.mark.parametrize(("memory", "remedy"), [("fast", "--memory balanced"), ("balanced", "--memory low"), ("low", "smaller --size")])
def test_out_of_memory_names_the_next_setting(memory: str, remedy: str, monkeypatch) -> None:
    model = load(CASES[0], memory=memory)

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(model._transformer, "forward", full)
    with pytest.raises(BackendError, match=remedy) as error:
        model.upscale(natural(16, 16))
    assert "\n" not in str(error.value)


def test_other_failures_are_not_called_memory(backbone, monkeypatch) -> None:
    def broken(*_, **__):
        raise RuntimeError("something else")

    monkeypatch.setattr(backbone._transformer, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        backbone.upscale(natural(16, 16))


def test_half_precisions(backbone) -> None:
    image = natural(32, 32)
    expected = backbone.upscale(image, "fur", seed=1)
    for dtype in ("bfloat16", "float16"):
        model = load(CASES[0], dtype=dtype)
        assert str(model._transformer.dtype) == f"torch.{dtype}"
        got = model.upscale(image, "fur", seed=1)
        assert 20 < psnr(got, expected) < 90, dtype


def test_t5_in_8_bits(backbone) -> None:
    pytest.importorskip("torchao")
    image = natural(32, 32)
    expected = backbone.upscale(image, "fur", seed=1)
    pictures = [load(CASES[0], memory=memory, quantise_t5="int8").upscale(image, "fur", seed=1) for memory in ("fast", "low")]
    assert np.array_equal(*pictures)
    assert 25 < psnr(pictures[0], expected) < 90


def test_nan_is_an_error(backbone, monkeypatch) -> None:
    monkeypatch.setattr(backbone._latents, "decode", lambda latent, **_: torch.full((1, 3, 32, 32), torch.nan))
    with pytest.raises(BackendError, match="use dtype bfloat16"):
        backbone.upscale(natural(32, 32))


def test_compile_is_optional(backbone) -> None:
    image = natural(16, 16)
    assert np.abs(load(CASES[0], compile="eager").upscale(image, "fur") - backbone.upscale(image, "fur")).max() < 1e-5


@pytest.mark.parametrize(
    ("option", "value"),
    [("shift", "none"), ("posterior", "mode"), ("memory", "tiny"), ("dtype", "int8"), ("tile", 100), ("quantise_t5", "int2")],
)
def test_unknown_options(option: str, value) -> None:
    with pytest.raises(OptionError, match="must be"):
        load(CASES[0], **{option: value})


def test_facts_name_every_file(backbone) -> None:
    facts = backbone.facts
    assert (facts.name, facts.scale, facts.input, facts.uses_prompt) == ("osediff_sd3", 4, "upscaled", True)
    names = [weights.name for weights in facts.weights]
    assert {name.split("/")[1] for name in names if "/" in name} == {
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
    }
    assert {"sr_lora.pkl", "vae_encoder.pt"} <= set(names)
    assert all(len(weights.sha256) == 64 and weights.revision == "local" for weights in facts.weights)
    assert "non-commercial" in facts.weights[0].licence


def test_it_drives_a_chain(backbone) -> None:
    assert isinstance(backbone, Backbone)
    steps = list(Chain(backbone, None, size=64).run(natural(96, 96), to=16))
    assert steps[-1].image.shape == (64, 64, 3)


def test_without_torch_the_install_line_is_given() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from chainzoom.errors import MissingExtraError\n"
        "try:\n    import chainzoom.backbones.osediff_sd3\n"
        "except MissingExtraError as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs torch, which is not installed: pip install 'chainzoom[diffusion]'" in answer.stdout
