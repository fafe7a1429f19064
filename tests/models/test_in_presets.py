"""Presets that name weights: what they lack, what they are built from, what the record keeps."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainzoom.errors import MissingExtraError, OptionError, PresetError, WeightsError
from chainzoom.models import Store, find_model
from chainzoom.models import store as store_module
from chainzoom.presets import Preset, builtin_names, load_preset, parse_preset
from chainzoom.registry import BACKBONES, PROMPTERS, Entry, options_of
from tests.conftest import GOLDEN, EchoPrompter, NoisyBackbone, natural

TEXT = """[backbone]
name = "greedy"
model = "models:osediff"
file = "models:osediff/preset/models/osediff.pkl"
device = "auto"
dtype = "auto"
[prompter]
name = "wordy"
tags = "models:ram-tags"
device = "auto"
dtype = "auto"
"""

built: dict[str, Any] = {}


def greedy(model: str, file: str, device: str = "cpu", dtype: str = "float32", memory: str = "fast") -> NoisyBackbone:
    built["backbone"] = {"model": model, "file": file, "device": device, "dtype": dtype, "memory": memory}
    return NoisyBackbone()


def wordy(tags: str, device: str = "cpu", dtype: str = "auto") -> EchoPrompter:
    built["prompter"] = {"tags": tags, "device": device, "dtype": dtype}
    return EchoPrompter()


@pytest.fixture
def preset(monkeypatch: pytest.MonkeyPatch) -> Preset:
    built.clear()
    monkeypatch.setitem(BACKBONES, "greedy", Entry(f"{__name__}:greedy", "wants weights"))
    monkeypatch.setitem(PROMPTERS, "wordy", Entry(f"{__name__}:wordy", "wants weights too"))
    return parse_preset(TEXT, "mine", "mine.toml")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "weights", tmp_path / "hub")


def fill(store: Store, *names: str) -> None:
    for name in names:
        for path in find_model(name).files:
            file = store.weights_dir / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")


def graphics(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: there)))


def test_weights_of_both_parts_are_looked_for_before_either_is_built(preset: Preset, store: Store) -> None:
    fill(store, "osediff")
    assert preset.missing(store) == "chainzoom models fetch ram-tags"
    with pytest.raises(WeightsError, match=r"'mine' needs weights .*: chainzoom models fetch ram-tags$"):
        preset.build(store)
    assert built == {}
    fill(store, "ram-tags")
    assert preset.missing(store) == ""


@pytest.mark.parametrize(("gpu", "device", "dtype"), [(True, "cuda", "float16"), (False, "cpu", "float32")])
def test_build_hands_over_paths_and_what_this_machine_has(
    preset: Preset, store: Store, monkeypatch: pytest.MonkeyPatch, gpu: bool, device: str, dtype: str
) -> None:
    graphics(monkeypatch, gpu)
    fill(store, "osediff", "ram-tags")
    preset.build(store, size=64)
    folder = store.weights_dir
    file = str(folder / "osediff/preset/models/osediff.pkl")
    assert built["backbone"] == {"model": str(folder / "osediff"), "file": file, "device": device, "dtype": dtype, "memory": "fast"}
    assert built["prompter"] == {"tags": str(folder / "ram-tags"), "device": device, "dtype": "auto"}
    # The record names the weights, not where they lie on one machine.
    assert preset.parts()["backbone"]["model"] == "models:osediff"


def test_placing_options_go_to_every_part_that_knows_them(preset: Preset, store: Store) -> None:
    fill(store, "osediff", "ram-tags")
    placed = preset.with_options(memory="low", dtype="bfloat16", device="cpu")
    placed.build(store)
    assert built["backbone"]["memory"] == "low"
    assert built["backbone"]["dtype"] == built["prompter"]["dtype"] == "bfloat16"
    assert placed.parts()["backbone"]["memory"] == "low"
    assert "memory" not in placed.prompter_options
    assert preset.with_options(memory=None) is preset
    with pytest.raises(OptionError, match=r"--radius cannot be used with the preset 'mine': its backbone 'greedy'.*it has model, file"):
        preset.with_options(radius=3)


def test_missing_packages_come_before_missing_weights(preset: Preset, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROMPTERS, "wordy", Entry("chainzoom.nowhere:Nothing", "", "vlm", ("no_such_package",)))
    assert preset.missing(store) == "pip install 'chainzoom[vlm]'; chainzoom models fetch osediff ram-tags"
    with pytest.raises(MissingExtraError, match="no_such_package"):
        preset.build(store)


def test_a_preset_that_names_unknown_weights_is_refused(preset: Preset) -> None:
    with pytest.raises(PresetError, match=r"mine\.toml.*unknown model 'ram-tagz'"):
        parse_preset(TEXT.replace("ram-tags", "ram-tagz"), "mine", "mine.toml")


def test_terms_follow_the_strictest_licence(preset: Preset) -> None:
    assert preset.terms() == "permissive, some uses barred"
    assert parse_preset(TEXT.replace("models:osediff", "models:sd3-medium"), "m", "m.toml").terms() == "non-commercial"
    assert parse_preset(TEXT.replace("models:ram-tags", "models:dape"), "m", "m.toml").terms() == "unclear"
    assert parse_preset('[backbone]\nname = "spandrel"\npath = "mine.pth"', "m", "m.toml").terms() == "as your weights say"


@pytest.mark.parametrize("name", ["official-null", "official-base-vlm", "official"])
def test_the_official_presets_run_from_a_weights_folder(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tiny checkpoints of the golden case and of the prompter's tests in place of the real ones."""
    pytest.importorskip("diffusers")
    pytest.importorskip("torchvision")
    from tests.prompters import tiny_vlm

    case = GOLDEN / "osediff_sd3_tiny_a"
    shutil.copytree(case / "model", store.weights_dir / "sd3-medium")
    for source, target in (("sr_lora.pkl", "SR_LoRA/model_20001.pkl"), ("vae_encoder.pt", "SR_VAE/vae_encoder_20001.pt")):
        file = store.weights_dir / "coz-sr" / "ckpt" / target
        file.parent.mkdir(parents=True)
        shutil.copy(case / source, file)
    vlm = tiny_vlm.make(store.weights_dir / "qwen2.5-vl-3b", seed=5)
    adapter = store.weights_dir / "coz-vlm-lora" / "ckpt" / "VLM_LoRA" / "checkpoint-10000"
    adapter.mkdir(parents=True)
    tiny_vlm.make_adapter(adapter, transformers_model(vlm))
    tiny = {
        "sd3-medium": replace(find_model("sd3-medium"), files=("model_index.json",)),
        "qwen2.5-vl-3b": replace(find_model("qwen2.5-vl-3b"), files=("config.json",)),
    }
    monkeypatch.setattr(store_module, "find_model", lambda name: tiny.get(name) or find_model(name))
    chain = load_preset(name).with_options(device="cpu", dtype="float32").build(store, size=64)
    steps = list(chain.run(natural(64, 64), to=4, seed=1))
    assert steps[-1].backbone == "osediff_sd3"
    assert steps[-1].image.shape[2] == 3
    assert np.isfinite(steps[-1].image).all()
    assert steps[-1].prompt.source == ("null" if name == "official-null" else "vlm")
    assert any("adapter" in weights.name for weights in steps[-1].prompter_weights) == (name == "official")


def transformers_model(folder: Path) -> Any:
    import transformers

    return transformers.AutoModelForImageTextToText.from_pretrained(folder)


@pytest.mark.parametrize("name", [name for name in builtin_names() if load_preset(name).models()])
def test_shipped_presets_give_their_parts_only_options_that_these_have(name: str) -> None:
    pytest.importorskip("diffusers")
    preset = load_preset(name)
    for entry, options in zip(preset.entries(), (preset.backbone_options, preset.prompter_options), strict=True):
        assert set(options) <= set(options_of(entry))
