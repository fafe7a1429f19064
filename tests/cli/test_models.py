"""``chainzoom models`` and the options that name weights, as a user meets them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from chainzoom.models import Model, all_models
from tests.cli.test_zoom import call
from tests.models.hub import Hub, point_at, sha256

TINY = Model(
    "tiny",
    "a test",
    "hub",
    "org/tiny",
    "non-commercial",
    "Look, do not touch.",
    "https://licence.example",
    ("a.bin", "b.bin"),
    size=2_000_000_000,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with one small model, which is the whole catalogue's newest entry."""
    listed = {**all_models(), "tiny": TINY}
    for module in ("chainzoom.models.catalogue", "chainzoom.cli.models"):
        monkeypatch.setattr(import_module(module), "all_models", lambda: listed)
    monkeypatch.setenv("CHAINZOOM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with Hub() as hub:
        point_at(hub, monkeypatch)
        hub.add("a.bin", b"aaa")
        hub.add("b.bin", b"bbbb", announce="")
        yield hub


def test_the_list(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("models", capsys=capsys)
    assert code == 0
    rows = {line.split("  ")[0]: line for line in printed.splitlines() if line and line[0] != " "}
    assert "no " in rows["tiny"]
    assert "2.0 GB" in rows["tiny"]
    assert "official-dape" in rows["ram"]
    assert "(gated)" in printed
    assert "Look, do not touch." in printed
    assert str(tmp_path / "weights" / "tiny") in printed
    assert hub.asked == []


def test_the_list_as_json(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(call("models", "--json", "--weights-dir", tmp_path / "mine", capsys=capsys)[1])
    tiny = next(row for row in rows if row["name"] == "tiny")
    assert (tiny["state"], tiny["path"], tiny["missing"]) == ("no", str(tmp_path / "mine" / "tiny"), ["a.bin", "b.bin"])
    assert next(row for row in rows if row["name"] == "qwen3-vl-2b")["presets"] == ["open", "open-onestep"]


def test_fetch_verify_and_damage(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("models", "fetch", "tiny", "--accept-licence", capsys=capsys)
    assert code == 0
    assert "Look, do not touch. (https://licence.example)" in printed
    assert f"tiny/a.bin: fetched, SHA-256 {sha256(b'aaa')} (server)" in printed
    assert f"tiny/b.bin: fetched, SHA-256 {sha256(b'bbbb')} (first download)" in printed
    assert "already here" in call("models", "fetch", "tiny", capsys=capsys)[1]
    code, printed, _ = call("models", "verify", capsys=capsys)
    assert (code, printed.splitlines()) == (0, ["tiny/a.bin: ok (server)", "tiny/b.bin: ok (first download)"])
    (tmp_path / "weights" / "tiny" / "b.bin").write_bytes(b"bbbx")
    code, printed, said = call("models", "verify", "tiny", capsys=capsys)
    assert code == 1
    assert "tiny/b.bin: damaged" in printed
    assert "tiny must come again" in said
    (tmp_path / "weights" / "tiny" / "b.bin").unlink()
    code, printed, _ = call("models", "verify", capsys=capsys)
    assert (code, "tiny/b.bin: missing" in printed) == (1, True)


def test_verify_with_nothing_here(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("models", "verify", capsys=capsys)
    assert (code, "no weights in" in printed) == (0, True)
    code, printed, _ = call("models", "verify", "tiny", capsys=capsys)
    assert (code, "tiny: not here; chainzoom models fetch tiny" in printed) == (0, True)


def test_fetch_into_another_folder_on_either_side_of_the_command(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("models", "--weights-dir", tmp_path / "a", "fetch", "tiny", "--accept-licence", capsys=capsys)[0] == 0
    assert call("models", "fetch", "tiny", "--accept-licence", "--weights-dir", tmp_path / "b", capsys=capsys)[0] == 0
    assert (tmp_path / "a" / "tiny" / "a.bin").read_bytes() == (tmp_path / "b" / "tiny" / "a.bin").read_bytes() == b"aaa"


def test_nobody_to_ask_means_no(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = call("models", "fetch", "tiny", capsys=capsys)
    assert code == 2
    assert "Look, do not touch." in printed
    assert "--accept-licence" in said
    assert hub.asked == []


@pytest.mark.parametrize(("answer", "code"), [(False, 2), (True, 0)])
def test_somebody_is_asked(hub: Hub, answer: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *args, **kwargs: answer)
    found, _, said = call("models", "fetch", "tiny", capsys=capsys)
    assert found == code
    assert ("not accepted" in said) is not answer
    assert bool(hub.asked) is answer


def test_errors_are_one_line_and_code_2(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call("models", "fetch", "giant", capsys=capsys)
    assert (code, len(said.splitlines())) == (2, 1)
    assert "known are sd3-medium" in said
    hub.pages.clear()
    code, _, said = call("models", "fetch", "tiny", "--accept-licence", capsys=capsys)
    assert (code, len(said.splitlines())) == (2, 1)
    assert "404" in said


def test_interrupt_says_how_to_go_on(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def press(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("chainzoom.cli.models"), "fetch_model", press)
    code, _, said = call("models", "fetch", "tiny", "--accept-licence", capsys=capsys)
    assert (code, "the same command goes on" in said) == (130, True)


def test_presets_and_doctor_show_licences_and_what_to_fetch(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("presets", "doctor"):
        code, printed, _ = call(command, capsys=capsys)
        assert code == 0
        assert "chainzoom models fetch sd3-medium coz-sr qwen2.5-vl-3b coz-vlm-lora" in printed
    printed = call("presets", capsys=capsys)[1]
    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    assert "non-commercial" in lines["official"]
    assert "permissive" in lines["open"]


def test_placing_options_need_a_backbone_that_has_them(hub: Hub, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call("zoom", photo_file, "--preset", "bicubic", "--memory", "low", capsys=capsys)
    assert code == 2
    assert "--memory cannot be used with the preset 'bicubic': its backbone 'bicubic'" in said


def test_a_preset_without_its_weights_says_what_to_fetch(
    hub: Hub, tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[backbone]\nname = "bicubic"\nweights = "models:sd-x4"\n')
    code, _, said = call("zoom", photo_file, "--preset", file, "--out", tmp_path / "out", "--weights-dir", tmp_path / "w", capsys=capsys)
    assert code == 2
    assert said.strip().endswith("needs weights that are not here: chainzoom models fetch sd-x4")
    assert not (tmp_path / "out").exists()
    file.write_text('[backbone]\nname = "bicubic"\nweights = "models:sd-x5"\n')
    code, _, said = call("zoom", photo_file, "--preset", file, capsys=capsys)
    assert (code, "unknown model 'sd-x5'" in said) == (2, True)
