"""``chainzoom train prompts`` says in one line what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom.cli import main
from chainzoom.training.grpo import run
from tests.training.grpo.tiny_run import photos, settings


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "prompts", *arguments])
    return int(stopped.value.code or 0), capsys.readouterr().err.strip()


def test_a_bad_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("stepz = 1\n")
    code, line = said([str(tmp_path / "c.toml")], capsys)
    assert code == 2
    assert line.startswith(f"chainzoom: {tmp_path / 'c.toml'}: unknown key 'stepz'")
    assert "\n" not in line


def test_a_missing_extra(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos", 1)
    (tmp_path / "c.toml").write_text(settings(tmp_path, "[rewards.phrase]")[1])
    monkeypatch.setattr(run, "_PACKAGES", (("no_such_trl", None),))
    code, line = said([str(tmp_path / "c.toml")], capsys)
    assert code == 2
    assert line.endswith("pip install 'chainzoom[train]'")
    assert not (tmp_path / "run").exists()
