"""The recipes' networks: which weights are trained, that training starts at the published files, and what is written."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from safetensors.torch import load_file

from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.backbones.osediff_sd21 import OSEDiffSD21, read_osediff
from chainzoom.backbones.torch_common import seeded_noise, to_images, to_tensor
from chainzoom.errors import OptionError, WeightsError
from chainzoom.images import psnr
from chainzoom.training.sr.base import Recipe
from chainzoom.training.sr.config import parse_config
from chainzoom.training.sr.networks import Batch, without_lora
from chainzoom.training.sr.objective import Draws, build_reward, centre, shrunk, zoomed
from chainzoom.training.sr.recipes import build_recipe
from tests.backbones.tiny_models import CASES, osediff_lists, osediff_pkl, tiny_sd21, with_osediff_adapters
from tests.conftest import natural
from tests.training.sr.tiny_training import configuration, vgg_files

CASE = CASES[0]
CPU = torch.device("cpu")


def build(photos: Path, model: Path = CASE / "model", **changes) -> Recipe:
    return build_recipe(parse_config(configuration(model, photos, Path("run"), **changes)), CPU)


def batch(recipe: Recipe, prompt: str = "fur", side: int = 32) -> Batch:
    pair = to_tensor([natural(side, side, 1)]), to_tensor([natural(side, side, 2)])
    return Batch(*pair, recipe.encode_prompts([prompt]))


def trained(recipe: Recipe) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in recipe.kept().items()}


def shown(recipe: Recipe, image, prompt: str, seed: int = 5):
    height, width = image.shape[:2]
    noise = seeded_noise((recipe.latent_channels, height // 8, width // 8), [seed])
    with torch.no_grad():
        return to_images(recipe.infer(to_tensor([image]), recipe.encode_prompts([prompt]), noise))[0]


@pytest.fixture(scope="module")
def official(photos: Path) -> Recipe:
    """Training that begins at the authors' two files."""
    return build(photos, network__lora=str(CASE / "sr_lora.pkl"), network__vae_encoder=str(CASE / "vae_encoder.pt"))


# OSEDiff on SD3


def test_begins_at_the_published_files(official: Recipe) -> None:
    backbone = OSEDiffSD3.from_files(CASE / "model", CASE / "sr_lora.pkl", CASE / "vae_encoder.pt")
    image = natural(32, 48)
    wanted = backbone.upscale(image, "fur and leaf", seed=5)
    assert psnr(shown(official, image, "fur and leaf"), wanted) > 80
    assert wanted.std() > 0.02


def test_writes_the_published_files(official: Recipe, tmp_path: Path) -> None:
    official.export(tmp_path, trained(official), 7)
    ours, theirs = (torch.load(path, weights_only=True) for path in (tmp_path / "model_7.pkl", CASE / "sr_lora.pkl"))
    assert len(ours) == len(theirs)
    assert all(torch.allclose(a, b.float(), atol=1e-7) for a, b in zip(ours, theirs, strict=True))
    ours, theirs = (torch.load(path, weights_only=True) for path in (tmp_path / "vae_encoder_7.pt", CASE / "vae_encoder.pt"))
    assert {name: tensor.dtype for name, tensor in ours.items()} == {name: tensor.dtype for name, tensor in theirs.items()}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert load_file(tmp_path / "vae_encoder_7.safetensors").keys() == theirs.keys()
    backbone = OSEDiffSD3.from_files(
        CASE / "model", None, tmp_path / "vae_encoder_7.pt", adapters={"trained": str(tmp_path / "transformer")}
    )
    image = natural(32, 32)
    assert psnr(shown(official, image, "fur"), backbone.upscale(image, "fur", seed=5)) > 60


def test_three_groups_share_nothing_and_the_rest_is_frozen(official: Recipe) -> None:
    groups = official.groups()
    assert list(groups) == ["transformer", "vae_encoder", "regulariser"]
    numbers = [id(parameter) for group in groups.values() for parameter in group]
    assert len(set(numbers)) == len(numbers)
    assert {id(p) for p in official.parameters() if p.requires_grad} == set(numbers)
    layers = {name for name in official.kept() if name.startswith("transformer.")}
    assert all(".norm1.linear." in name or ".norm1_context.linear." in name for name in layers)
    assert len(layers) == 2 * len(torch.load(CASE / "sr_lora.pkl", weights_only=True)) // 2
    assert all(parameter.dtype == torch.float32 for parameter in official.kept().values())


def test_the_regulariser_shares_the_frozen_weights_and_starts_as_the_prior(photos: Path) -> None:
    recipe = build(photos)
    own, other = dict(recipe.transformer.named_parameters()), dict(recipe.regulariser.named_parameters())
    assert all(own[name] is other[name] for name in own if ".lora_" not in name)
    assert all(own[name] is not other[name] for name in own if ".lora_" in name)
    given = batch(recipe)
    first = recipe.losses(given, Draws(0), None)
    assert float(first["vsd"].detach()) == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        for name, parameter in recipe.regulariser.named_parameters():
            if ".lora_B." in name:
                parameter.add_(0.1)
    assert float(recipe.losses(given, Draws(0), None)["vsd"].detach()) > 1e-6


def test_each_loss_trains_its_own_weights(photos: Path) -> None:
    recipe = build(photos, loss__l2=0.0)
    with torch.no_grad():
        for name, parameter in recipe.named_parameters():
            if ".lora_B." in name:
                parameter.add_(0.02)
    groups = recipe.groups()
    found = recipe.losses(batch(recipe), Draws(1), None)
    found["vsd"].backward(retain_graph=True)
    assert all(p.grad is None for p in groups["regulariser"])
    assert sum(float(p.grad.abs().sum()) for p in groups["transformer"] + groups["vae_encoder"]) > 0
    recipe.zero_grad()
    found["regulariser"].backward()
    assert all(p.grad is None for p in groups["transformer"] + groups["vae_encoder"])
    assert sum(float(p.grad.abs().sum()) for p in groups["regulariser"]) > 0


def test_without_lora_is_the_base_and_trains_on_after(photos: Path, official: Recipe) -> None:
    given = batch(official)
    base = build(photos)
    with torch.no_grad():
        plain = base.step(base.transformer, base.encode(given.lq, None), given.words)
        with without_lora(official.transformer):
            bare = official.step(official.transformer, base.encode(given.lq, None), given.words)
        adapted = official.step(official.transformer, base.encode(given.lq, None), given.words)
    assert torch.allclose(plain, bare, atol=1e-6)
    assert not torch.allclose(adapted, bare, atol=1e-3)
    assert all(p.requires_grad for p in official.groups()["transformer"])


def test_gradient_checkpointing_and_guidance(photos: Path) -> None:
    losses = []
    for changes in ({}, {"network__gradient_checkpointing": True}, {"loss__guidance": 3.0}):
        recipe = build(photos, **changes)
        with torch.no_grad():
            for name, parameter in recipe.named_parameters():
                if ".lora_B." in name:
                    parameter.add_(0.02)
        found = recipe.losses(batch(recipe), Draws(2), None)
        found["total"].backward()
        losses.append((float(found["vsd"].detach()), recipe.groups()["transformer"][0].grad.clone()))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    assert torch.allclose(losses[0][1], losses[1][1], rtol=1e-4, atol=1e-7)
    assert losses[0][0] != pytest.approx(losses[2][0], rel=1e-3)


def test_bfloat16_weights_with_float32_lora(photos: Path) -> None:
    recipe = build(photos, network__dtype="bfloat16")
    assert {p.dtype for p in recipe.kept().values()} == {torch.float32}
    assert recipe.transformer.proj_out.weight.dtype == torch.bfloat16
    found = recipe.losses(batch(recipe), Draws(0), None)
    found["total"].backward()
    assert bool(torch.isfinite(found["total"]))
    plain = build(photos)
    assert float(found["l2"].detach()) == pytest.approx(float(plain.losses(batch(plain), Draws(0), None)["l2"].detach()), rel=0.05)


def test_a_file_of_another_rank_is_refused(photos: Path) -> None:
    with pytest.raises(WeightsError, match="rank"):
        build(photos, network__lora=str(CASE / "sr_lora.pkl"), network__rank=2)


# OSEDiff on SD2.1


@pytest.fixture(scope="module")
def sd21(tmp_path_factory) -> Path:
    return tiny_sd21(tmp_path_factory.mktemp("sd21"))


def test_sd21_trains_the_published_layers_and_writes_osediff_pkl(photos: Path, sd21: Path, tmp_path: Path) -> None:
    recipe = build(photos, sd21, recipe="osediff_sd21", loss__guidance=7.5)
    found = recipe.losses(batch(recipe), Draws(0), None)
    found["total"].backward()
    for parameters in recipe.groups().values():
        assert sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None) > 0
        torch.optim.AdamW(parameters, lr=0.02).step()
    assert recipe.unet.conv_in.base_layer.weight.grad is not None
    recipe.export(tmp_path, trained(recipe), 1)
    content = read_osediff(tmp_path / "osediff.pkl")
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet, vae = UNet2DConditionModel.from_pretrained(sd21 / "unet"), AutoencoderKL.from_pretrained(sd21 / "vae")
    lists, vae_list = osediff_lists(unet, vae)
    assert {kind: content[f"unet_lora_{kind}_modules"] for kind in lists} == lists
    assert set(content["vae_lora_encoder_modules"]) == {*vae_list, "quant_conv"}
    image = natural(32, 32)
    wanted = OSEDiffSD21.from_files(sd21, tmp_path / "osediff.pkl").upscale(image, "fur", seed=5)
    assert psnr(shown(recipe, image, "fur"), wanted) > 70
    assert psnr(shown(build(photos, sd21, recipe="osediff_sd21"), image, "fur"), wanted) < 50


def test_sd21_begins_at_a_published_file(photos: Path, sd21: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet, vae = UNet2DConditionModel.from_pretrained(sd21 / "unet"), AutoencoderKL.from_pretrained(sd21 / "vae")
    file = osediff_pkl(tmp_path / "osediff.pkl", unet, vae, with_osediff_adapters(unet, vae))
    recipe = build(photos, sd21, recipe="osediff_sd21", network__lora=str(file))
    image = natural(32, 32)
    assert psnr(shown(recipe, image, "fur"), OSEDiffSD21.from_files(sd21, file).upscale(image, "fur", seed=5)) > 70


# OracleZoom


@pytest.fixture(scope="module")
def oracle(photos: Path, tmp_path_factory) -> Recipe:
    return build(
        photos,
        recipe="oraclezoom",
        data__crop=64,
        network__lora=str(CASE / "sr_lora.pkl"),
        network__vae_encoder=str(CASE / "vae_encoder.pt"),
        network__rank=16,
        loss__lpips=1.0,
        **vgg_files(tmp_path_factory.mktemp("vgg")),
    )


def test_oraclezoom_starts_as_the_backbone_with_no_drift(oracle: Recipe) -> None:
    wanted = OSEDiffSD3.from_files(CASE / "model", CASE / "sr_lora.pkl", CASE / "vae_encoder.pt").upscale(natural(32, 32), "fur", seed=5)
    assert psnr(shown(oracle, natural(32, 32), "fur"), wanted) > 80
    found = oracle.losses(batch(oracle, side=64), Draws(0), None)
    assert set(found) == {"fidelity", "cycle", "inconsistency", "reward", "kl", "ema", "total"}
    assert float(found["kl"].detach()) == pytest.approx(0, abs=1e-9)
    weights = oracle.config.loss
    parts = found["fidelity"] + weights.cycle * found["cycle"] - weights.reward * found["reward"] + weights.kl * found["kl"]
    assert float(found["total"].detach()) == pytest.approx(float((parts + weights.ema * found["ema"]).detach()), rel=1e-5)


def test_oraclezoom_trains_attention_alone_and_its_adapter_loads(oracle: Recipe, tmp_path: Path) -> None:
    names = {name.split(".lora_")[0].rpartition(".")[2] for name in oracle.kept()}
    assert names == {"to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"}
    (parameters,) = oracle.groups().values()
    oracle.losses(batch(oracle, side=64), Draws(0), None)["total"].backward()
    torch.optim.AdamW(parameters, lr=0.02).step()
    oracle.after_step()
    kept = trained(oracle)
    name = next(key for key in kept if key.startswith("transformer.") and ".lora_B." in key)
    assert torch.allclose(kept[f"teacher.{name.removeprefix('transformer.')}"], 0.05 * kept[name], atol=1e-7)
    assert float(oracle.losses(batch(oracle, side=64), Draws(0), None)["kl"].detach()) > 0
    oracle.export(tmp_path, kept, 1)
    backbone = OSEDiffSD3.from_files(
        CASE / "model", CASE / "sr_lora.pkl", CASE / "vae_encoder.pt", adapters={"oraclezoom": str(tmp_path / "adapter")}
    )
    image = natural(32, 32)
    wanted = backbone.upscale(image, "fur", seed=5)
    assert psnr(shown(oracle, image, "fur"), wanted) > 75
    backbone.unload_adapter("oraclezoom")
    assert psnr(backbone.upscale(image, "fur", seed=5), wanted) < 60


def test_the_second_step_gets_its_own_words(oracle: Recipe) -> None:
    seen = []

    def deeper(states, crops):
        seen.append((states[0].shape, crops[0].shape))
        return oracle.encode_prompts(["stone"])

    other = oracle.losses(batch(oracle, side=64), Draws(0), deeper)
    same = oracle.losses(batch(oracle, side=64), Draws(0), None)
    assert seen == [((64, 64, 3), (64, 64, 3))]
    assert float(other["fidelity"].detach()) == float(same["fidelity"].detach())
    assert float(other["cycle"].detach()) != float(same["cycle"].detach())


def test_the_chains_geometry() -> None:
    picture = to_tensor([natural(64, 64)])
    assert torch.equal(centre(picture), picture[..., 24:40, 24:40])
    assert zoomed(picture).shape == picture.shape
    assert torch.allclose(shrunk(zoomed(picture)), centre(picture), atol=0.05)


def test_rewards_are_not_the_judges() -> None:
    with pytest.raises(OptionError, match="score of the evaluation"):
        build_reward("musiq", CPU)
    sharp, flat = torch.rand(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)
    assert float(build_reward("laplacian", CPU)(sharp)) > float(build_reward("laplacian", CPU)(flat)) == 0
