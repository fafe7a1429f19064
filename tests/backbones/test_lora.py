"""LoRA formats and merging: the official list, the wrapped VAE encoder, PEFT and diffusers adapters; and wrong files."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from safetensors.torch import load_file, save_file

from chainzoom.backbones.adapters import read_adapter
from chainzoom.backbones.lora import Factor, adaln_parameters
from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.errors import OptionError, WeightsError
from tests.backbones.tiny_models import CASES
from tests.conftest import natural

CASE = CASES[0]
ORACLEZOOM = ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"]


def load(model: Path = CASE / "model", lora: Path = CASE / "sr_lora.pkl", vae: Path = CASE / "vae_encoder.pt", **options) -> OSEDiffSD3:
    return OSEDiffSD3.from_files(model, lora=lora, vae_encoder=vae, **options)


def weights_of(backbone: OSEDiffSD3) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in backbone._transformer.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A PEFT adapter folder of OracleZoom's form, and the transformer that carries it unmerged."""
    from diffusers import SD3Transformer2DModel
    from peft import LoraConfig, get_peft_model

    base = SD3Transformer2DModel.from_pretrained(CASE / "model" / "transformer")
    wrapped = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules=ORACLEZOOM))
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    folder = tmp_path_factory.mktemp("adapter")
    wrapped.save_pretrained(folder)
    return folder, wrapped.eval()


# Arithmetic


def test_a_convolution_update_is_the_two_convolutions_in_turn() -> None:
    torch.manual_seed(0)
    down, up, picture = torch.randn(4, 3, 3, 3), torch.randn(8, 4, 1, 1), torch.randn(1, 3, 9, 9)
    expected = 2 * torch.conv2d(torch.conv2d(picture, down), up)
    assert (torch.conv2d(picture, Factor(up, down, 2.0).delta()) - expected).abs().max() < 1e-4


def test_merging_in_half_precision_rounds_once() -> None:
    """The merged weight is the float32 sum, cast; not a sum of casts."""
    backbone = load(dtype="bfloat16")
    name = adaln_parameters(backbone._transformer)[0]
    base = load_file(CASE / "model/transformer/diffusion_pytorch_model.safetensors")[name]
    up, down = torch.load(CASE / "sr_lora.pkl", weights_only=True)[:2]
    merged = backbone._transformer.get_parameter(name)
    assert torch.equal(merged, (base + up @ down).bfloat16())
    assert not torch.equal(merged, base.bfloat16() + (up @ down).bfloat16())


# The official list


def test_the_official_format_survives_a_round_trip(tmp_path: Path) -> None:
    backbone = load()
    backbone.save_lora(tmp_path / "again.pkl")
    before, after = torch.load(CASE / "sr_lora.pkl", weights_only=True), torch.load(tmp_path / "again.pkl", weights_only=True)
    assert len(before) == len(after) == 10
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert same(weights_of(load(lora=tmp_path / "again.pkl")), weights_of(backbone))
    assert [path.name for path in tmp_path.iterdir()] == ["again.pkl"]
    with pytest.raises(OptionError, match="cannot write"):
        backbone.save_lora(tmp_path / "no" / "folder.pkl")


def test_without_the_lora_the_weights_are_the_checkpoints(tmp_path: Path) -> None:
    backbone = load()
    name = adaln_parameters(backbone._transformer)[2]
    base = load_file(CASE / "model/transformer/diffusion_pytorch_model.safetensors")
    assert not torch.equal(backbone._transformer.get_parameter(name), base[name])
    backbone.unload_adapter("official")
    assert same(weights_of(backbone), base)
    assert "sr_lora.pkl" not in [weights.name for weights in backbone.facts.weights]
    with pytest.raises(OptionError, match="no adapter named 'official'"):
        backbone.save_lora(tmp_path / "gone.pkl")


def edited_list(tmp_path: Path, change) -> Path:
    content = torch.load(CASE / "sr_lora.pkl", weights_only=True)
    torch.save(change(content), tmp_path / "edited.pkl")
    return tmp_path / "edited.pkl"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[:-2], "holds 8 tensors; this model has 5 AdaLayerNormZero layers and needs 10"),
        (
            lambda c: [torch.zeros(t.shape[0], 8) if i % 2 == 0 else torch.zeros(8, t.shape[1]) for i, t in enumerate(c)],
            r"\(rank 4\), got \(384, 8\)",
        ),
        (lambda c: [c[1], c[0], *c[2:]], r"expected up \(384, 4\)"),
        (lambda c: {"lora": c}, "holds dict"),
        (lambda c: [*c[:-1], "text"], "list of tensors"),
    ],
)
def test_a_wrong_list_is_named(tmp_path: Path, change, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as error:
        load(lora=edited_list(tmp_path, change))
    assert "edited.pkl" in str(error.value)


def test_another_rank_when_asked_for(tmp_path: Path) -> None:
    def widen(content):
        return [torch.cat([t, torch.zeros_like(t)], dim=1 - i % 2) for i, t in enumerate(content)]

    assert same(weights_of(load(lora=edited_list(tmp_path, widen), lora_rank=8)), weights_of(load()))


# The wrapped VAE encoder


def edited_encoder(tmp_path: Path, change) -> Path:
    content = torch.load(CASE / "vae_encoder.pt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "encoder.pt")
    return tmp_path / "encoder.pt"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("conv_in.lora_A.default_encoder.weight"), "conv_in.weight has only lora_B"),
        (lambda c: c.pop("conv_norm_out.bias"), r"1 tensors missing \(first: conv_norm_out.bias"),
        (lambda c: c.update({"more.weight": torch.zeros(1)}), "1 tensors not expected"),
        (lambda c: c.update({"conv_norm_out.bias": torch.zeros(3)}), "1 tensors of another shape"),
        (lambda c: c.update({"conv_in.base_layer.weight": torch.zeros(16, 3, 1, 1)}), r"no weight of shape \(16, 3, 3, 3\)"),
        (lambda c: c.update({"conv_in.lora_A.default_encoder.weight": torch.zeros(5, 3, 3, 3)}), "do not belong together"),
    ],
)
def test_a_wrong_encoder_is_named(tmp_path: Path, change, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as error:
        load(vae=edited_encoder(tmp_path, change))
    assert "encoder.pt" in str(error.value)


# PEFT adapters


def test_a_peft_adapter_merges_as_peft_runs_it(adapter) -> None:
    folder, wrapped = adapter
    backbone = load()
    backbone.unload_adapter("official")
    backbone.load_adapter(folder, "oraclezoom")
    torch.manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(1, 16, 8, 8),
        "encoder_hidden_states": torch.randn(1, 9, 96),
        "pooled_projections": torch.randn(1, 80),
    }
    inputs["timestep"] = torch.tensor([1000.0])
    with torch.inference_mode():
        expected, got = wrapped(**inputs).sample, backbone._transformer(**inputs).sample
        with wrapped.disable_adapter():
            plain = wrapped(**inputs).sample
    assert (expected - plain).abs().max() > 0.1, "an adapter that does nothing proves nothing"
    assert (got - expected).abs().max() < 1e-4


def test_adapters_stack_and_leave_without_a_trace(adapter) -> None:
    folder, _ = adapter
    backbone = load(dtype="bfloat16")
    image, before = natural(32, 32), weights_of(backbone)
    plain = backbone.upscale(image, "fur")
    backbone.load_adapter(folder, "oraclezoom", strength=0.5, licence="MIT")
    assert backbone.updates.merged == {"official": 1.0, "oraclezoom": 0.5}
    changed = [name for name, weight in weights_of(backbone).items() if not torch.equal(weight, before[name])]
    assert len(changed) == 3 * len(ORACLEZOOM)
    assert not np.array_equal(backbone.upscale(image, "fur"), plain)
    assert backbone.facts.weights[-1].name == "oraclezoom/adapter_model.safetensors"
    with pytest.raises(OptionError, match="is loaded already"):
        backbone.load_adapter(folder, "oraclezoom")
    backbone.unload_adapter("oraclezoom")
    assert same(weights_of(backbone), before)
    assert np.array_equal(backbone.upscale(image, "fur"), plain)


def test_adapters_can_be_given_from_the_start(adapter) -> None:
    assert load(adapters={"oraclezoom": str(adapter[0])}).updates.loaded == ("official", "oraclezoom")


def test_names_and_alphas_of_other_writers(adapter, tmp_path: Path) -> None:
    """diffusers' prefixes, adapter names in keys, down/up names, alpha tensors."""
    expected, _ = read_adapter(adapter[0])
    tensors = load_file(adapter[0] / "adapter_model.safetensors")
    plain = {name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}
    styles = {
        "diffusers": {f"transformer.{name}": tensor for name, tensor in plain.items()},
        "named": {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()},
        "down-up": {name.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): tensor for name, tensor in plain.items()},
    }
    for style, content in styles.items():
        path = tmp_path / f"{style}.safetensors"
        save_file(content, path)
        with pytest.raises(WeightsError, match="does not say its alpha"):
            read_adapter(path)
        factors, _ = read_adapter(path, alpha=32)
        assert factors.keys() == expected.keys(), style
        assert all(torch.equal(factors[name].delta(), expected[name].delta()) for name in factors)
    alphas = {name.replace(".lora.down.weight", ".alpha"): torch.tensor(32.0) for name in styles["down-up"] if "down" in name}
    save_file({**styles["down-up"], **alphas}, tmp_path / "alphas.safetensors")
    factors, _ = read_adapter(tmp_path / "alphas.safetensors")
    assert {factor.scale for factor in factors.values()} == {2.0}
    header = {"lora_adapter_metadata": json.dumps({"transformer.r": 16, "transformer.lora_alpha": 8})}
    save_file(styles["diffusers"], tmp_path / "header.safetensors", metadata=header)
    assert {factor.scale for factor in read_adapter(tmp_path / "header.safetensors")[0].values()} == {0.5}


def changed_adapter(adapter, tmp_path: Path, tensors=None, config=None) -> Path:
    shutil.copytree(adapter[0], tmp_path / "changed")
    file, settings = tmp_path / "changed/adapter_model.safetensors", tmp_path / "changed/adapter_config.json"
    if tensors:
        content = load_file(file)
        tensors(content)
        save_file(content, file)
    if config:
        settings.write_text(json.dumps({**json.loads(settings.read_text()), **config}))
    return tmp_path / "changed"


LAYER = "base_model.model.transformer_blocks.0.attn.to_q"


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        (lambda c: c.update({"base_model.model.nowhere.lora_A.weight": c[f"{LAYER}.lora_A.weight"], "base_model.model.nowhere.lora_B.weight": c[f"{LAYER}.lora_B.weight"].clone()}), None, "nowhere.weight, which this network lacks"),  # noqa: E501
        (lambda c: c.update({f"{LAYER}.magnitude": torch.ones(3)}), None, "no LoRA factor and would go unused"),
        (lambda c: c.pop(f"{LAYER}.lora_B.weight"), None, "lacks one of its two"),
        (lambda c: c.update({f"{LAYER}.lora_B.weight": torch.zeros(65, 16)}), None, "do not fit"),
        (None, {"r": 8}, "has rank 16, adapter_config.json says 8"),
        (None, {"use_dora": True}, "uses DoRA"),
        (None, {"modules_to_save": ["proj_out"]}, "fully trained modules"),
    ],
)  # fmt: skip
def test_a_wrong_adapter_is_refused_whole(adapter, tmp_path: Path, tensors, config, words: str) -> None:
    backbone = load()
    before = weights_of(backbone)

    def alone(content):  # safetensors refuses tensors that share memory
        tensors(content)
        content.update({name: tensor.clone() for name, tensor in content.items()})

    with pytest.raises(WeightsError, match=words) as error:
        backbone.load_adapter(changed_adapter(adapter, tmp_path, alone if tensors else None, config), "x")
    assert "adapter_model.safetensors" in str(error.value)
    assert same(weights_of(backbone), before)
    assert backbone.updates.loaded == ("official",)


def test_rank_and_alpha_patterns(adapter, tmp_path: Path) -> None:
    folder = changed_adapter(adapter, tmp_path, config={"alpha_pattern": {"to_q": 64}, "use_rslora": True})
    factors, _ = read_adapter(folder)
    assert factors["transformer_blocks.0.attn.to_q.weight"].scale == pytest.approx(64 / 4)
    assert factors["transformer_blocks.0.attn.to_k.weight"].scale == pytest.approx(32 / 4)
