"""The command line as a user meets it: what it writes, what it says, how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.cli import main
from chainzoom.pictures import read_provenance
from tests.conftest import natural

FAST = ["--preset", "bicubic", "--size", "128"]


def call(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def test_zoom_writes_everything(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, printed, progress = call("zoom", photo_file, "--at", "0.62,0.41", "--to", "64", "--out", out, *FAST, capsys=capsys)
    assert code == 0
    assert printed.split() == [str(out / name) for name in ("states", "strip.png", "zoom.mp4", "index.html")]
    assert "synthesised by bicubic" in progress
    record = json.loads((out / "run.json").read_text())
    assert [step["scale"] for step in record["steps"]] == [0.5, 1, 4, 16, 64]
    assert record["steps"][-1]["region"] == pytest.approx([157.72 + 0.25, 77.72 + 0.25, 159.72 + 0.25, 79.72 + 0.25], abs=0.5)
    assert sorted(path.name for path in (out / "states").iterdir()) == [f"{index}.png" for index in range(5)]
    assert (out / "zoom.mp4").stat().st_size > 1000
    assert "synthesised" in (out / "index.html").read_text().lower()
    said = json.dumps(read_provenance(out / "states" / "4.png"))
    assert record["source"]["sha256"] in said
    assert "algorithmicallyEnhanced" in said
    assert "algorithmicallyEnhanced" not in json.dumps(read_provenance(out / "states" / "0.png"))


def test_same_command_twice_gives_the_same_bytes(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        assert call("zoom", photo_file, "--to", "20", "--out", tmp_path / name, *FAST, capsys=capsys)[0] == 0
    for file in [*(f"states/{index}.png" for index in range(4)), "strip.png", "zoom.mp4"]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_json_and_depth(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, progress = call(
        "zoom", photo_file, "--to", "4x", "--out", tmp_path / "o", "--json", "--depth", "16", "--no-report", *FAST, capsys=capsys
    )
    assert code == 0
    assert progress == ""
    record = json.loads(printed)
    assert record["status"] == "complete"
    assert (tmp_path / "o" / "states" / "0.png").read_bytes()[24] == 16
    assert not (tmp_path / "o" / "strip.png").exists()


def test_default_folder_is_named_after_the_photo_and_never_reused(
    tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("photo-8x", "photo-8x-2"):
        assert call("zoom", photo_file, "--to", "8", "--no-report", *FAST, capsys=capsys)[0] == 0
        assert (tmp_path / expected / "run.json").exists()


def test_alpha_is_carried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 3] = np.linspace(0, 255, 64).astype(np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "a.png")
    assert call("zoom", tmp_path / "a.png", "--to", "4", "--out", tmp_path / "o", *FAST, capsys=capsys)[0] == 0
    with PILImage.open(tmp_path / "o" / "states" / "1.png") as state:
        assert state.mode == "RGBA"
        alpha = np.asarray(state)[..., 3]
    assert np.all(np.diff(alpha.mean(0)) >= 0)
    assert 90 < alpha.mean() < 165


def bad_files(folder: Path) -> dict[str, Path]:
    made = {name: folder / name for name in ("empty.jpg", "text.jpg", "cut.jpg", "tiny.png", "bomb.png", "good.png")}
    made["empty.jpg"].write_bytes(b"")
    made["text.jpg"].write_text("not a picture at all, just words " * 20)
    PILImage.fromarray((natural(64, 64) * 255).astype(np.uint8)).save(folder / "whole.jpg")
    made["cut.jpg"].write_bytes((folder / "whole.jpg").read_bytes()[:-600])
    PILImage.new("RGB", (1, 1)).save(made["tiny.png"])
    PILImage.new("1", (30000, 30000)).save(made["bomb.png"])
    PILImage.fromarray((natural(64, 64) * 255).astype(np.uint8)).save(made["good.png"])
    made["folder"] = folder
    made["missing"] = folder / "missing.jpg"
    return made


@pytest.mark.parametrize("name", ["empty.jpg", "text.jpg", "cut.jpg", "tiny.png", "bomb.png", "folder", "missing"])
def test_bad_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    refused(tmp_path, capsys, bad_files(tmp_path)[name])


@pytest.mark.parametrize(
    "options",
    [
        ["--at", "2,3"],
        ["--at", "middle"],
        ["--to", "0.5"],
        ["--to", "nan"],
        ["--to", "far"],
        ["--preset", "nonsense"],
        ["--preset", "nowhere.toml"],
        ["--mode", "sideways"],
        ["--consistency", "2"],
        ["--size", "1"],
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--resume", "--overwrite"],
        ["--unheard-of"],
    ],
)
def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    refused(tmp_path, capsys, bad_files(tmp_path)["good.png"], *options)


def refused(folder: Path, capsys: pytest.CaptureFixture[str], photo: Path, *options: str) -> None:
    code, printed, said = call("zoom", photo, "--out", folder / "out", "--preset", "bicubic", *options, capsys=capsys)
    assert code == 2
    assert printed == ""
    assert said.startswith("chainzoom: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not (folder / "out").exists()


def test_existing_folder_needs_a_word(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    zoom: list[str | Path] = ["zoom", photo_file, "--to", "4", "--out", out, "--no-report", *FAST]
    assert call(*zoom, capsys=capsys)[0] == 0
    code, _, said = call(*zoom, capsys=capsys)
    assert code == 2
    assert "--resume" in said
    assert "--overwrite" in said
    assert call(*zoom, "--overwrite", capsys=capsys)[0] == 0
    code, _, said = call(*zoom, "--resume", capsys=capsys)
    assert code == 0
    assert said.count("from the earlier run") == 3
    code, _, said = call("zoom", photo_file, "--to", "5", "--out", out, "--resume", *FAST, capsys=capsys)
    assert code == 2
    assert "to = 4.0" in said


def test_record_of_another_photo_is_refused(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("zoom", photo_file, "--to", "4", "--out", tmp_path / "out", "--no-report", *FAST, capsys=capsys)
    other = tmp_path / "other.png"
    PILImage.fromarray((natural(192, 256, 9) * 255).astype(np.uint8)).save(other)
    code, _, said = call("zoom", other, "--to", "4", "--out", tmp_path / "out", "--resume", *FAST, capsys=capsys)
    assert code == 2
    assert "another photo" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, _, said = call("zoom", photo_file, "--to", "4", "--out", locked / "out", *FAST, capsys=capsys)
    assert code == 2
    assert "permission" in said


def test_folder_below_a_file_is_refused(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call("zoom", photo_file, "--to", "4", "--out", photo_file / "out", *FAST, capsys=capsys)
    assert code == 2
    assert said.count("\n") == 1


def test_debug_shows_the_traceback_anywhere_on_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call("zoom", tmp_path / "missing.jpg", "--debug", capsys=capsys)
    assert code == 2
    assert "Traceback" in said


def slow_preset(folder: Path) -> Path:
    """Many states of a large size, so that there is time to interrupt."""
    path = folder / "slow.toml"
    path.write_text('[backbone]\nname = "lanczos"\n[chain]\nsize = 1024\n')
    return path


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_keeps_its_states_and_resumes_to_the_same_bytes(tmp_path: Path, photo_file: Path, kill: int) -> None:
    preset = slow_preset(tmp_path)

    def command(out: str, *more: str) -> list[Any]:
        base = [sys.executable, "-m", "chainzoom", "zoom", photo_file, "--preset", preset, "--to", "65536", "--no-report"]
        return [*base, "--out", tmp_path / out, *more]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("cut"), stderr=subprocess.PIPE)
    while not (tmp_path / "cut" / "states" / "2.png").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(kill)
    _, said = process.communicate()
    if kill != signal.SIGKILL:
        assert process.returncode == 130
        assert b"--resume" in said
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert record["status"] == ("running" if kill == signal.SIGKILL else "interrupted")
    for step in record["steps"]:
        assert (tmp_path / "cut" / step["file"]).exists()
    subprocess.run(command("cut", "--resume"), check=True, capture_output=True)
    for path in sorted((tmp_path / "whole" / "states").iterdir()):
        assert path.read_bytes() == (tmp_path / "cut" / "states" / path.name).read_bytes()
    assert {path.name for path in (tmp_path / "cut").iterdir()} <= {".lock", "run.json", "states"}


def test_two_runs_into_one_folder(tmp_path: Path, photo_file: Path) -> None:
    base = [sys.executable, "-m", "chainzoom", "zoom", photo_file, "--preset", slow_preset(tmp_path), "--to", "4096", "--no-report"]
    both = [subprocess.Popen([*base, "--out", tmp_path / "out"], stderr=subprocess.PIPE) for _ in range(2)]
    codes = sorted((process.communicate()[1], process.returncode)[1] for process in both)
    assert codes == [0, 2]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "complete"
