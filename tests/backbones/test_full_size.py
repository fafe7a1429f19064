"""Stable Diffusion 3 medium at full size on the meta device: layers, keys, shapes, parameters and the memory they should take."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json
import sys
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from chainzoom.backbones import placement
from chainzoom.backbones.adapters import read_adapter
from chainzoom.backbones.checkpoints import check_state
from chainzoom.backbones.lora import LowRankUpdates, adaln_parameters, merge_wrapped_state, read_official, wrapped_factors
from chainzoom.backbones.memory import estimate_memory, peak_bytes
from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.sd3_prompts import ENCODERS
from chainzoom.backbones.sd3_sizes import SD3_MEDIUM, build, parameter_counts
from chainzoom.errors import MissingExtraError, WeightsError
from chainzoom.torch_device import visiting
from tests.backbones.tiny_models import CASES, osediff_lists

VAE_TARGETS = ["conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", "to_q", "to_k", "to_v", "to_out.0"]


@pytest.fixture(scope="module")
def transformer():
    return build("transformer", SD3_MEDIUM["transformer"])


def official_list(transformer):
    shapes = dict(transformer.named_parameters())
    return [
        t for name in adaln_parameters(transformer) for t in (torch.zeros(shapes[name].shape[0], 4), torch.zeros(4, shapes[name].shape[1]))
    ]


def test_parameter_counts() -> None:
    """The published sizes of the five networks."""
    assert parameter_counts(SD3_MEDIUM) == {
        "transformer": 2_028_328_000,
        "vae": 83_819_683,
        "text_encoder": 123_650_304,
        "text_encoder_2": 694_659_840,
        "text_encoder_3": 4_762_310_656,
    }


def test_47_layers_take_the_lora(transformer) -> None:
    names = adaln_parameters(transformer)
    assert len(names) == 47
    assert sum(".norm1.linear" in name for name in names) == 24
    assert sum(".norm1_context.linear" in name for name in names) == 23
    assert names[:2] == ["transformer_blocks.0.norm1.linear.weight", "transformer_blocks.0.norm1_context.linear.weight"]
    assert names[-1] == "transformer_blocks.23.norm1.linear.weight"


def test_the_official_list_has_94_tensors(transformer, tmp_path) -> None:
    content = official_list(transformer)
    assert len(content) == 94
    assert {tuple(tensor.shape) for tensor in content} == {(9216, 4), (4, 1536)}
    torch.save(content, tmp_path / "model_20001.pkl")
    factors = read_official(tmp_path / "model_20001.pkl", transformer)
    assert list(factors) == adaln_parameters(transformer)
    torch.save(content[:-2], tmp_path / "short.pkl")
    with pytest.raises(WeightsError, match="holds 92 tensors; this model has 47"):
        read_official(tmp_path / "short.pkl", transformer)


def test_every_key_of_the_vae_encoder_is_used_and_none_is_missing() -> None:
    """The wrapped names come from PEFT itself on the real class; 31 layers carry a LoRA pair."""
    from diffusers import AutoencoderKL
    from peft import LoraConfig, inject_adapter_in_model

    with torch.device("meta"):
        wrapped = AutoencoderKL(**SD3_MEDIUM["vae"])
        inject_adapter_in_model(LoraConfig(r=4, target_modules=VAE_TARGETS), wrapped.encoder, adapter_name="default_encoder")
    state = {name: torch.empty(tensor.shape, dtype=torch.float16, device="meta") for name, tensor in wrapped.encoder.state_dict().items()}
    assert sum("lora_A" in name for name in state) == sum("lora_B" in name for name in state) == 31
    plain = merge_wrapped_state(state, 8, "vae_encoder_20001.pt")
    expected = build("vae", SD3_MEDIUM["vae"]).encoder.state_dict()
    check_state("vae_encoder_20001.pt", expected, plain)
    for name in ("conv_in.base_layer.bias", "conv_norm_out.weight"):
        with pytest.raises(WeightsError, match="1 tensors missing"):
            check_state("x", expected, merge_wrapped_state({k: v for k, v in state.items() if k != name}, 8, "x"))


def test_oraclezoom_keys_fit(transformer, tmp_path) -> None:
    """Rank 16 on six projections of 24 blocks."""
    from safetensors.torch import save_file

    targets = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
    tensors = {
        f"base_model.model.{name}.lora_{half}.weight": torch.zeros((16, 1536) if half == "A" else (1536, 16))
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(tuple(f"attn.{target}" for target in targets))
        for half in "AB"
    }
    assert len(tensors) == 2 * 24 * 6
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 16, "lora_alpha": 32}')
    factors, file = read_adapter(tmp_path)
    updates = LowRankUpdates(transformer, lambda name: torch.empty(0))
    updates.load("oraclezoom", factors, file)
    assert len(updates.factors("oraclezoom")) == 144
    assert {factor.scale for factor in factors.values()} == {2.0}


def test_osediff_on_sd21_uses_every_key() -> None:
    """Stable Diffusion 2.1's networks at full size, wrapped by PEFT under the three adapter names; nothing is left over or missing."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from peft import LoraConfig, inject_adapter_in_model

    with torch.device("meta"):
        unet = UNet2DConditionModel(attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True)
        vae = AutoencoderKL(**{**SD3_MEDIUM["vae"], "latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True})
        assert sum(p.numel() for p in unet.parameters()) == 865_910_724
        assert sum(p.numel() for p in vae.parameters()) == 83_653_863
        shapes = {name: p.shape for name, p in unet.named_parameters()}
        lists, _ = osediff_lists(unet, vae)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            for kind, modules in lists.items():
                inject_adapter_in_model(LoraConfig(r=4, target_modules=modules), unet, adapter_name=f"default_{kind}")
        plain = UNet2DConditionModel(attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True)
    state = {name: parameter for name, parameter in unet.named_parameters() if "lora" in name or "conv_in" in name}
    factors = wrapped_factors(state, 8, "osediff.pkl")
    assert {name.removesuffix(".weight") for name in factors} == {name for names in lists.values() for name in names}
    assert 2 * len(factors) + 2 == len(state), "conv_in itself is the only other thing in it"
    assert all(factor.shape == tuple(shapes[name]) for name, factor in factors.items())
    updates = LowRankUpdates(plain, lambda name: torch.empty(0))
    updates.load("osediff", factors, "osediff.pkl")


# Memory


def test_peak_counts_what_is_alive_together() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(100, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 10)).to("meta")
    assert peak_bytes(lambda: network(torch.empty(7, 100, device="meta"))) in (7 * 4 * n for n in (2000, 2100))
    assert peak_bytes(lambda: [torch.empty(10, device="meta") for _ in range(3)]) == 3 * 40

    def one_after_another() -> None:
        for _ in range(3):
            torch.empty(10, device="meta")

    assert peak_bytes(one_after_another) == 40


def test_peak_takes_attention_as_fused() -> None:
    query = torch.empty(1, 4, 512, 16, device="meta")
    assert peak_bytes(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query)) == query.numel() * 4


def test_expected_memory_meets_the_aims() -> None:
    """Fast <= 24 GB, balanced <= 16 GB, low <= 8 GB for 512 px states in 16 bits: computed, not measured."""
    fast, balanced, low = (estimate_memory(memory) for memory in ("fast", "balanced", "low"))
    assert fast.total <= 24e9
    assert balanced.total <= 16e9
    assert low.total <= 8e9
    assert low.total < balanced.total < fast.total
    buffers = 192 * 192 * 1536
    assert fast.resident == 2 * (sum(parameter_counts(SD3_MEDIUM).values()) + buffers) + 8 * 2 * 77  # position ids are 8-byte integers
    assert balanced.resident == balanced.weights["transformer"] + balanced.weights["vae"]
    assert low.resident == 0
    assert max(balanced.phases, key=balanced.phases.__getitem__) == "t5"


def test_memory_grows_with_size_batch_and_precision() -> None:
    tiny = {part: json.loads((CASES[0] / "model" / part / "config.json").read_text()) for part in SD3_MEDIUM}
    tiny["transformer"]["pos_embed_max_size"] = 64  # 1024 pixels

    def estimate(*options, **more):
        return estimate_memory(*options, configs=tiny, **more)

    base = estimate("low")
    assert estimate("low", size=1024).activations["vae_decode"] == pytest.approx(4 * base.activations["vae_decode"], rel=0.02)
    assert estimate("low", batch=2).activations["transformer"] == pytest.approx(2 * base.activations["transformer"], rel=0.02)
    assert estimate("fast", "float32").resident > 1.99 * estimate("fast").resident
    assert estimate("low", size=1024).activations == estimate("low", size=4096).activations, "tiles bound it"
    half = estimate("low", "float16")
    assert half.weights["vae"] == 2 * base.weights["vae"], "the VAE overflows in float16 and stays in float32"
    assert half.weights["text_encoder_3"] - base.weights["text_encoder_3"] == 2 * 2 * 96 * 128, "so do two layers of T5"
    assert estimate("balanced", quantise_t5="int8").weights["text_encoder_3"] < 0.6 * base.weights["text_encoder_3"]


def test_weights_are_what_a_loaded_model_holds() -> None:
    """Against the tiny checkpoint in memory, part by part."""
    tiny = {part: json.loads((CASES[0] / "model" / part / "config.json").read_text()) for part in SD3_MEDIUM}
    for dtype in ("float32", "bfloat16", "float16"):
        expected = estimate_memory("fast", dtype, 64, configs=tiny).weights
        model = OSEDiffSD3.from_files(CASES[0] / "model", lora=None, vae_encoder=None, dtype=dtype)
        names = {"transformer": "transformer", "vae": "vae", **ENCODERS}
        for part, name in names.items():
            with model._placement.use(name) as module:
                unique = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}.values()
                assert sum(tensor.nbytes for tensor in unique) == expected[part], (dtype, part)


# Placement


@pytest.mark.parametrize(("memory", "text", "core"), [("fast", "meta", "meta"), ("balanced", "cpu", "meta"), ("low", "cpu", "cpu")])
def test_parts_come_and_leave(memory: str, text: str, core: str) -> None:
    """Meta plays the device: nothing can be copied back from it, so values that survive never left the host."""
    places = Placement(torch.device("meta"), memory)
    parts = {"text": torch.nn.BatchNorm1d(3), "core": torch.nn.Linear(2, 3)}
    before = {name: {key: tensor.clone() for key, tensor in part.state_dict().items()} for name, part in parts.items()}
    for name, part in parts.items():
        places.add(name, part, name)
    for name, rest in (("text", text), ("core", core)):
        assert {tensor.device.type for tensor in parts[name].state_dict().values()} == {rest}
        with torch.inference_mode(), places.use(name) as part:
            assert {tensor.device.type for tensor in part.state_dict().values()} == {"meta"}
        with pytest.raises(ZeroDivisionError), places.use(name):  # a part leaves after a failure too
            raise ZeroDivisionError
        assert {tensor.device.type for tensor in parts[name].state_dict().values()} == {rest}
        if rest == "cpu":
            assert all(torch.equal(tensor, before[name][key]) for key, tensor in parts[name].state_dict().items())
            assert not any(tensor.is_inference() for tensor in parts[name].state_dict().values()), "nothing could be merged into these"


def test_streamed_layers_answer_the_same() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Embedding(10, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 4))
    ids = torch.arange(5)[None]
    expected = network(ids)
    places = Placement(torch.device("cpu"), "low")
    places.add("t5", network, "text", stream=True)
    with torch.inference_mode(), places.use("t5") as streamed:
        assert torch.equal(streamed(ids), expected)
    assert any(hasattr(module, "_diffusers_hook") for module in network.modules())


def test_int8_needs_torchao(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(MissingExtraError, match="torchao"):
        placement.quantise_int8(torch.nn.Linear(4, 4))


def test_int8_stays_close() -> None:
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    network, inputs = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False)), torch.randn(3, 64)
    expected = network(inputs)
    placement.quantise_int8(network)
    with torch.inference_mode():
        error = (network(inputs) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.02


def test_tied_weights_move_once() -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    second.weight = first.weight
    pair = torch.nn.Sequential(first, second)
    with visiting(pair, torch.device("meta")):
        assert first.weight is second.weight
        assert first.weight.device.type == "meta"
    assert first.weight is second.weight
    assert first.weight.device.type == "cpu"
