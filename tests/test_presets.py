from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom.backbones.interpolation import Bicubic
from chainzoom.errors import ChainzoomError, MissingExtraError, OptionError, PresetError
from chainzoom.presets import builtin_names, load_preset, parse_preset
from chainzoom.registry import BACKBONES, PROMPTERS, Entry

GOOD = '[backbone]\nname = "bicubic"\n[prompter]\nname = "fixed"\ntext = "sand"\n[chain]\nconsistency = 0.5\nsize = 256\n'


def test_every_shipped_preset_is_valid_and_default_comes_first() -> None:
    names = builtin_names()
    assert names[0] == "default"
    assert {"default", "bicubic"} <= set(names)
    for name in names:
        assert load_preset(name).description


def test_build_gives_the_parts_and_settings() -> None:
    chain = parse_preset(GOOD, "mine", "mine.toml").build(size=128, mode=None)
    assert isinstance(chain.backbone, Bicubic)
    assert chain.prompter is not None
    assert chain.prompter.name == "fixed"
    assert (chain.settings.consistency, chain.settings.size, chain.settings.mode) == (0.5, 128, "multiscale")


def test_a_preset_may_set_the_step() -> None:
    assert parse_preset('[backbone]\nname = "bicubic"\n[chain]\nstep = "2"', "mine", "mine.toml").check().step == "2"


def test_preset_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    preset = load_preset(str(path))
    assert (preset.name, preset.backbone, preset.prompter_options) == ("mine", "bicubic", {"text": "sand"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[backbone", "not valid TOML"),
        ('[backbone]\nname = "warp9"', "warp9.*bicubic"),
        ('[backbone]\nname = "bicubic"\n[prompter]\nname = "muse"', "muse.*tags"),
        ('[backbone]\nname = "bicubic"\n[chain]\nconsistancy = 1', "consistancy.*consistency"),
        ('colour = "red"\n[backbone]\nname = "bicubic"', "colour"),
        ('[backbone]\nname = "bicubic"\n[chain]\nsize = "big"', "size.*wrong type"),
        ('[backbone]\nname = "bicubic"\n[chain]\nsize = true', "size.*wrong type"),
        ("[backbone]\nscale = 4", r"needs \[backbone\] name"),
        ("[backbone]\nname = 4", r"needs \[backbone\] name"),
        ('backbone = "bicubic"', "must be a table"),
    ],
)
def test_bad_presets_are_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(PresetError, match=words):
        parse_preset(text, "bad", "bad.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[backbone]\nname = "bicubic"\nradius = 3', "radius"),
        ('[backbone]\nname = "bicubic"\n[prompter]\nname = "fixed"', "text"),
    ],
)
def test_bad_part_options_are_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(PresetError, match=words):
        parse_preset(text, "bad", "bad.toml").build()


def test_bad_settings_are_refused_before_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "bicubic", Entry("chainzoom.nowhere:Nothing", "would fail when built"))
    with pytest.raises(OptionError, match="--mode"):
        parse_preset(GOOD, "mine", "mine.toml").build(mode="sideways")


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(PresetError, match="default"):
        load_preset("defualt")
    with pytest.raises(PresetError, match="cannot read"):
        load_preset("nowhere/mine.toml")


def test_missing_package_gives_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROMPTERS, "fixed", Entry("chainzoom.prompters.fixed:Fixed", "", "vlm", ("no_such_module",)))
    preset = parse_preset(GOOD, "mine", "mine.toml")
    assert preset.missing() == "pip install 'chainzoom[vlm]'"
    with pytest.raises(MissingExtraError, match=r"pip install 'chainzoom\[vlm\]'") as caught:
        preset.build()
    assert isinstance(caught.value, ChainzoomError)
