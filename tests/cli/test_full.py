"""``chainzoom full`` as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.cli import main
from chainzoom.full.estimate import Estimate
from chainzoom.full.job import FullJob
from chainzoom.pictures import read_provenance
from tests.conftest import natural

FAST = ["--preset", "bicubic"]


def call(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["full", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


@pytest.mark.parametrize("name", ["big.tif", "big.png", "big.dzi"])
def test_a_file_and_its_record(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, printed, said = call(photo_file, "--to", "4x", "--out", tmp_path / name, *FAST, capsys=capsys)
    assert (code, printed.strip()) == (0, str(tmp_path / name))
    assert "256x192  to 4x: 1024x768 pixels" in said
    assert "core-hours" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["photo.png", name, f"{name}.json", *(["big_files"] if name == "big.dzi" else [])]
    )
    assert json.loads((tmp_path / f"{name}.json").read_text())["status"] == "complete"


def test_the_record_on_standard_output(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = call(photo_file, "--out", tmp_path / "big.png", "--json", *FAST, capsys=capsys)
    assert (code, said) == (0, "")
    assert json.loads(printed)["windows_made"] == {"1": 4}
    assert read_provenance(tmp_path / "big.png")["chainzoom:synthesised"] == "true"


def test_default_name_and_dry_run(
    tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, said = call(photo_file, "--dry-run", *FAST, capsys=capsys)
    assert (code, printed) == (0, "")
    assert "for one of the first level" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]
    code, printed, _ = call(photo_file, "--dry-run", "--json", *FAST, capsys=capsys)
    assert json.loads(printed)["estimate"]["windows"] == {"1": 4}
    assert call(photo_file, *FAST, capsys=capsys)[1].strip() == "photo-4x.tif"


def test_much_work_needs_a_word(
    tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FullJob, "estimate", lambda self: Estimate({1: 9}, 7200, 800, 1, 1, 2))
    code, printed, said = call(photo_file, "--out", tmp_path / "big.tif", *FAST, capsys=capsys)
    assert (code, printed) == (2, "")
    assert said.splitlines()[-1].startswith("chainzoom: this takes about 2.0 h")
    assert "--yes" in said
    assert not (tmp_path / "big.tif").exists()
    assert call(photo_file, "--out", tmp_path / "big.tif", "--yes", *FAST, capsys=capsys)[0] == 0
    monkeypatch.setattr(FullJob, "estimate", lambda self: Estimate({1: 9}, 1, 1, 1 << 60, 1, 2))
    code, _, said = call(photo_file, "--out", tmp_path / "huge.tif", *FAST, capsys=capsys)
    assert code == 2
    assert "free some space" in said


def test_somebody_at_a_terminal_is_asked(
    tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FullJob, "estimate", lambda self: Estimate({1: 9}, 7200, 800, 1, 1, 2))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, expected in ((False, 1), (True, 0)):
        monkeypatch.setattr("click.confirm", lambda *_, answer=answer, **__: answer)
        assert call(photo_file, "--out", tmp_path / "big.tif", *FAST, capsys=capsys)[0] == expected
        assert (tmp_path / "big.tif").exists() == answer


@pytest.mark.parametrize(
    "options",
    [
        ["--to", "0.5"],
        ["--to", "far"],
        ["--preset", "none"],
        ["--resume", "--overwrite"],
        ["--seed", "-1"],
        ["--align", "left"],
        ["--depth", "9"],
    ],
)
def test_bad_options(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    code, printed, said = call(photo_file, "--out", tmp_path / "big.tif", *FAST, *options, capsys=capsys)
    assert (code, printed) == (2, "")
    assert said.startswith("chainzoom: ")
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_ctrl_c_stops_and_resume_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "big.tif"
    PILImage.fromarray((natural(192, 256) * 255).astype(np.uint8)).save(photo)
    command = [sys.executable, "-m", "chainzoom", "full", str(photo), "--to", "64", "--out", str(out), "--yes", *FAST]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "big.tif.chainzoom" / "journal.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (journal.exists() and b'"tile"' in journal.read_bytes()):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "--resume" in said.splitlines()[-1]
    assert not out.exists()
    before = journal.read_bytes().count(b'"tile"')
    assert before
    code, _, said = call(photo, "--to", "64", "--out", out, "--resume", "--dry-run", *FAST, capsys=capsys)
    assert code == 0


def test_the_default_preset_enlarges_a_small_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "tiny.png"
    PILImage.fromarray((natural(24, 32) * 255).astype(np.uint8)).save(photo)
    assert call(photo, "--out", tmp_path / "big.png", capsys=capsys)[0] == 0
    record = json.loads((tmp_path / "big.png.json").read_text())
    assert record["weights"][0]["name"].startswith("Real-ESRGAN")
    with PILImage.open(tmp_path / "big.png") as image, PILImage.open(photo) as small:
        assert image.size == (128, 96)
        shrunk = np.asarray(image.resize((32, 24), PILImage.Resampling.BICUBIC), dtype=int)
        assert np.abs(shrunk - np.asarray(small)).max() <= 2
