from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")
from safetensors.torch import load_file, save_file  # noqa: E402

from chainzoom.errors import WeightsError  # noqa: E402
from chainzoom.prompters import vlm_adapter  # noqa: E402
from tests.prompters import tiny_vlm  # noqa: E402

SCALE = 32 / 8


@pytest.fixture
def model():
    words = tiny_vlm.tokenizer()
    torch.manual_seed(3)
    made = transformers.Qwen2_5_VLForConditionalGeneration(tiny_vlm.config("qwen2_5_vl", words)).eval()
    return made.requires_grad_(False)


def logits(model):
    return model(input_ids=torch.arange(40, 52)[None]).logits


def weights(model) -> dict[str, torch.Tensor]:
    return {name: p.clone() for name, p in model.named_parameters()}


def test_the_old_layout_changes_the_logits_exactly_as_a_merge_by_hand(tmp_path, model):
    tensors = tiny_vlm.make_adapter(tmp_path, model)
    assert "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight" in tensors
    before, plain = weights(model), logits(model)
    adapter = vlm_adapter.read_adapter(tmp_path)
    assert (adapter.rank, adapter.scale) == (8, SCALE)
    changed = vlm_adapter.merge(model, adapter)
    assert len(changed) == tiny_vlm.LAYERS * 7
    merged = logits(model)
    assert (merged - plain).abs().max() > 0.01
    for name, weight in model.named_parameters():
        layer = name.removesuffix(".weight").replace("model.language_model.", "model.")
        key = f"base_model.model.{layer}.lora_%s.weight"
        if key % "A" in tensors:
            by_hand = before[name] + SCALE * tensors[key % "B"] @ tensors[key % "A"]
            torch.testing.assert_close(weight, by_hand, rtol=0, atol=1e-6)
        else:
            assert torch.equal(weight, before[name])


def test_the_vision_tower_is_untouched(tmp_path, model):
    tiny_vlm.make_adapter(tmp_path, model)
    before = weights(model.model.visual)
    vlm_adapter.merge(model, vlm_adapter.read_adapter(tmp_path))
    assert before
    assert all(torch.equal(before[name], p) for name, p in model.model.visual.named_parameters())


def test_attached_equals_merged_and_comes_off(tmp_path, model):
    tiny_vlm.make_adapter(tmp_path, model)
    adapter = vlm_adapter.read_adapter(tmp_path)
    plain = logits(model)
    attached = vlm_adapter.Attached(model, adapter)
    beside = logits(model)
    attached.detach()
    assert torch.equal(logits(model), plain)
    vlm_adapter.merge(model, adapter)
    torch.testing.assert_close(beside, logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers for it
def test_peft_agrees(tmp_path, model):
    peft = pytest.importorskip("peft")
    tensors = tiny_vlm.make_adapter(tmp_path, model)
    vlm_adapter.merge(model, vlm_adapter.read_adapter(tmp_path))
    ours = logits(model)
    torch.manual_seed(3)
    other = transformers.Qwen2_5_VLForConditionalGeneration(tiny_vlm.config("qwen2_5_vl", tiny_vlm.tokenizer())).eval()
    targets = r".*language_model.*\.(q_proj|o_proj|gate_proj|down_proj|k_proj|up_proj|v_proj)$"
    wrapped = peft.get_peft_model(other, peft.LoraConfig(r=8, lora_alpha=32, target_modules=targets))
    with torch.no_grad():
        for key, value in tensors.items():
            name = key.replace("base_model.model.model.", "base_model.model.model.language_model.").replace(".weight", ".default.weight")
            wrapped.get_parameter(name).copy_(value)
    theirs = logits(wrapped.eval())
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_todays_layout_is_read_too(tmp_path, model):
    tiny_vlm.make_adapter(tmp_path / "old", model)
    tiny_vlm.make_adapter(tmp_path / "new", model, layout="new")
    tiny_vlm.write_adapter_config(
        tmp_path / "new", target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    old, new = (vlm_adapter.plan(model, vlm_adapter.read_adapter(tmp_path / name)) for name in ("old", "new"))
    assert [(u.name, u.down.tolist()) for u in old] == [(u.name, u.down.tolist()) for u in new]


def test_rslora_scales_by_the_root_of_the_rank(tmp_path, model):
    tiny_vlm.make_adapter(tmp_path, model)
    tiny_vlm.write_adapter_config(tmp_path, use_rslora=True)
    assert vlm_adapter.read_adapter(tmp_path).scale == pytest.approx(32 / 8**0.5)


def edited(folder: Path, model, change) -> Path:
    tensors = tiny_vlm.make_adapter(folder, model)
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_%s.weight"


def rename(old: str, new: str):
    def change(tensors):
        for key in [k for k in tensors if old in k]:
            tensors[key.replace(old, new)] = tensors.pop(key)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rename("layers.1.", "layers.7."), r"no layer for model\.layers\.7"),
        (rename("base_model.model.model.", "base_model.model.decoder."), r"no layer for decoder\.layers"),
        (rename("base_model.model.", ""), "no LoRA of a layer"),
        (rename("model.layers.0.mlp", "visual.blocks.0.mlp"), r"vision tower \(visual\.blocks\.0\.mlp"),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(2, 2)}), "lm_head"),
        (lambda t: t.pop(FIRST % "B"), r"one half .* model\.layers\.0\.self_attn\.q_proj"),
        (lambda t: [t.pop(FIRST % side) for side in "AB"], r"lacks layers .*model\.layers\.0\.self_attn\.q_proj"),
        (lambda t: t.update({FIRST % "A": torch.zeros(8, 63)}), "63 to 64 features, this model's has 64 to 64"),
        (lambda t: t.update({FIRST % "A": torch.zeros(4, 64), FIRST % "B": torch.zeros(64, 4)}), "config says rank 8"),
    ],
)
def test_a_bad_key_is_an_error_and_nothing_is_changed(tmp_path, model, change, words):
    before = weights(model)
    folder = edited(tmp_path, model, change)
    with pytest.raises(WeightsError, match=words) as caught:
        vlm_adapter.merge(model, vlm_adapter.read_adapter(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": 16}, "rank 16"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "expected a LoRA"),
        ({"target_modules": None}, "target_modules"),
    ],
)
def test_a_bad_configuration(tmp_path, model, changes, words):
    tiny_vlm.make_adapter(tmp_path, model)
    tiny_vlm.write_adapter_config(tmp_path, **changes)
    with pytest.raises(WeightsError, match=words):
        vlm_adapter.read_adapter(tmp_path)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-a-pickle"),))


@pytest.mark.parametrize("kind", ["no folder", "no tensors", "truncated", "not json", "pickle with code"])
def test_broken_folders(tmp_path, monkeypatch, model, kind):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "adapter"
    if kind != "no folder":
        tiny_vlm.make_adapter(folder, model)
    file = folder / "adapter_model.safetensors"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "not json":
        (folder / "adapter_config.json").write_text("{")
    elif kind in ("no tensors", "pickle with code"):
        file.unlink()
    if kind == "pickle with code":
        torch.save({"a": Evil()}, folder / "adapter_model.bin")
    with pytest.raises(WeightsError, match=re.escape(str(folder))):
        vlm_adapter.read_adapter(folder)
    assert not (tmp_path / "touched-by-a-pickle").exists()


def test_a_safe_pickle_is_read(tmp_path, model):
    tiny_vlm.make_adapter(tmp_path, model)
    file = tmp_path / "adapter_model.safetensors"
    torch.save(load_file(file), tmp_path / "adapter_model.bin")
    file.unlink()
    assert len(vlm_adapter.read_adapter(tmp_path).pairs) == tiny_vlm.LAYERS * 7


def test_full_size_takes_all_504_keys():
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        vision_config={"depth": 32, "hidden_size": 1280, "out_hidden_size": 2048, "intermediate_size": 3420, "num_heads": 16},
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3.75e9, rel=0.01)
    sizes = {
        "q": (2048, 2048),
        "k": (2048, 256),
        "v": (2048, 256),
        "o": (2048, 2048),
        "gate": (2048, 11008),
        "up": (2048, 11008),
        "down": (11008, 2048),
    }
    state = {}
    for layer in range(36):
        for short, (inner, outer) in sizes.items():
            part = "mlp" if short in ("gate", "up", "down") else "self_attn"
            key = f"base_model.model.model.layers.{layer}.{part}.{short}_proj.lora_%s.weight"
            state[key % "A"] = torch.empty(8, inner, device="meta")
            state[key % "B"] = torch.empty(outer, 8, device="meta")
    assert len(state) == 36 * 7 * 2
    targets = r"^(model).*\.(q_proj|o_proj|gate_proj|down_proj|k_proj|up_proj|v_proj)$"
    pairs = vlm_adapter.pairs_of(state, 8, "full size")
    updates = vlm_adapter.plan(model, vlm_adapter.Adapter(Path("full"), Path("full"), 8, SCALE, targets, pairs))
    assert len({id(u.layer) for u in updates}) == 36 * 7
    assert not any("visual" in u.name for u in updates)
