"""The run folder: schema, resume to the same bytes, locks, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from chainzoom import Chain, Step
from chainzoom.backbones.adaptive import adaptive
from chainzoom.backbones.interpolation import Bicubic
from chainzoom.errors import OutputError
from chainzoom.images import Image
from chainzoom.records import RunFolder, read_record
from tests.conftest import EchoPrompter, NoisyBackbone, natural

HEADER: dict[str, Any] = {"version": "1", "source": {"path": "p.png", "sha256": "ab", "width": 144, "height": 96, "notes": []}, "seed": 0}


def chain_steps(photo: Image, done: list[Step]) -> Any:
    return Chain(NoisyBackbone(), EchoPrompter()).run(photo, to=256, done=done)


def run(folder: Path, photo: Image, *, stop_after: int | None = None, resume: bool = False, depth: int = 8) -> None:
    with RunFolder.open(folder, HEADER, resume=resume, depth=depth) as run_folder:
        for step in chain_steps(photo, run_folder.done):
            run_folder.add(step)
            if step.index == stop_after:
                raise KeyboardInterrupt
        run_folder.finish()


def states(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "states").iterdir())}


def test_record_has_the_schema(tmp_path: Path, photo: Image) -> None:
    run(tmp_path / "out", photo)
    record = read_record(tmp_path / "out")
    assert record["schema"] == "chainzoom.run/1"
    assert record["status"] == "complete"
    assert [step["index"] for step in record["steps"]] == [0, 1, 2, 3, 4]
    step = record["steps"][2]
    assert step["region"] == [56, 32, 88, 64]
    assert step["scale"] == 16
    assert set(step["consistency_db"]) == {"raw", "corrected"}
    assert set(step["seconds"]) == {"prompt", "sr", "total"}
    assert step["weights"] == {"name": "noise", "revision": "1", "sha256": "00", "licence": "CC0"}
    assert step["prompter_weights"][0]["name"] == "echo"
    assert (step["prompt"], step["prompt_source"]) == ("words 1", "echo")
    assert step["file"] == "states/2.png"
    assert record["steps"][0]["weights"] is None
    assert record["steps"][0]["consistency_db"] is None
    assert not (tmp_path / "out" / ".resume").exists()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_resume_ends_with_the_bytes_of_an_undisturbed_run(tmp_path: Path, photo: Image, stop_after: int, depth: int) -> None:
    run(tmp_path / "whole", photo, depth=depth)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", photo, stop_after=stop_after, depth=depth)
    cut = read_record(tmp_path / "cut")
    assert cut["status"] == "interrupted"
    assert len(cut["steps"]) == stop_after + 1
    run(tmp_path / "cut", photo, resume=True, depth=depth)
    assert states(tmp_path / "cut") == states(tmp_path / "whole")
    first, second = (read_record(tmp_path / name)["steps"] for name in ("cut", "whole"))
    for step in [*first, *second]:
        del step["seconds"]
    assert first == second


@pytest.mark.parametrize("victim", ["states/2.png", ".resume/3.npy"])
def test_resume_repairs_what_was_damaged(tmp_path: Path, photo: Image, victim: str) -> None:
    run(tmp_path / "whole", photo)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", photo, stop_after=3)
    (tmp_path / "cut" / victim).write_bytes(b"broken")
    run(tmp_path / "cut", photo, resume=True)
    assert states(tmp_path / "cut") == states(tmp_path / "whole")


def test_resuming_a_complete_run_makes_nothing(tmp_path: Path, photo: Image) -> None:
    run(tmp_path, photo)
    with RunFolder.open(tmp_path, HEADER, resume=True) as folder:
        assert folder.complete
        assert [step.index for step in folder.done] == [0, 1, 2, 3, 4]


def test_kill_between_the_picture_and_the_record_loses_nothing(tmp_path: Path, photo: Image) -> None:
    """A state whose record was never written is simply made again."""
    run(tmp_path / "whole", photo)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", photo, stop_after=2)
    record = read_record(tmp_path / "cut")
    record["steps"].pop()
    (tmp_path / "cut" / "run.json").write_text(json.dumps(record))
    run(tmp_path / "cut", photo, resume=True)
    assert states(tmp_path / "cut") == states(tmp_path / "whole")


def test_folder_with_other_things_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputError, match="not empty"):
            RunFolder.open(tmp_path, HEADER, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_overwrite_replaces_the_run_and_nothing_else(tmp_path: Path, photo: Image) -> None:
    run(tmp_path, photo)
    (tmp_path / "diary.txt").write_text("mine")
    (tmp_path / "strip.png").write_bytes(b"old")
    with RunFolder.open(tmp_path, HEADER, overwrite=True) as folder:
        assert folder.done == []
    assert (tmp_path / "diary.txt").read_text() == "mine"
    assert not (tmp_path / "strip.png").exists()
    assert not any((tmp_path / "states").iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 1}, "seed"), ({"source": {**HEADER["source"], "sha256": "cd"}}, "another photo"), ({"version": "2"}, "version")],
)
def test_resuming_another_run_is_refused(tmp_path: Path, photo: Image, change: dict[str, Any], words: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, photo, stop_after=1)
    before = states(tmp_path)
    with pytest.raises(OutputError, match=words):
        RunFolder.open(tmp_path, {**HEADER, **change}, resume=True)
    assert states(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other"}', '{"schema": "chainzoom.run/1"}'])
def test_broken_record_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run\.json"):
        RunFolder.open(tmp_path, HEADER, resume=True)


def test_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, HEADER), pytest.raises(OutputError, match="another run"):
        RunFolder.open(tmp_path, HEADER, overwrite=True)
    RunFolder.open(tmp_path, HEADER, overwrite=True).__exit__(None, None, None)


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="is a file"):
        RunFolder.open(tmp_path / "out", HEADER)


def test_full_disk_leaves_the_finished_states(tmp_path: Path, photo: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.save

    def full(file: Any, *args: Any, **options: Any) -> None:
        if Path(file).name.startswith(".2."):
            raise OSError(28, "No space left on device")
        real(file, *args, **options)

    monkeypatch.setattr("chainzoom.records.np.save", full)
    with pytest.raises(OutputError, match="disk is full"):
        run(tmp_path, photo)
    record = read_record(tmp_path)
    assert record["status"] == "interrupted"
    assert sorted(states(tmp_path)) == ["0.png", "1.png"]
    monkeypatch.undo()
    run(tmp_path, photo, resume=True)
    assert read_record(tmp_path)["status"] == "complete"


def test_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "x").write_text("")
    with pytest.raises(OutputError):
        RunFolder.open(tmp_path, HEADER)
    with filelock.FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_bigger_picture_of_alpha_is_kept(tmp_path: Path) -> None:
    """Alpha reaches the written state."""
    from dataclasses import replace

    from chainzoom.pictures import read_png

    photo = natural(64, 64)
    first = replace(next(chain_steps(photo, [])), alpha=np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    with RunFolder.open(tmp_path, HEADER) as folder:
        folder.add(first)
    _, alpha = read_png(tmp_path / "states" / "0.png")
    assert alpha is not None
    assert np.abs(alpha - first.alpha).max() <= 0.5 / 255 + 1e-6


def test_the_choice_of_parts_is_recorded_and_read_back(tmp_path: Path) -> None:
    chain = Chain(adaptive(Bicubic(), NoisyBackbone()), None, size=64)
    with RunFolder.open(tmp_path, HEADER) as folder:
        for step in chain.run(natural(96, 144), to=64):
            folder.add(step)
            if step.scale == 16:
                break
    with RunFolder.open(tmp_path, HEADER, resume=True) as folder:
        assert folder.done[-1].choice
        assert folder.done[-1].choice.shares == (("bicubic", 0.0), ("noisy", 1.0))
        for step in chain.run(natural(96, 144), to=64, done=folder.done):
            folder.add(step)
        folder.finish()
    entries = {entry["scale"]: entry for entry in read_record(tmp_path)["steps"]}
    assert entries[1]["choice"] is None
    assert sum(entries[4]["choice"]["shares"].values()) == pytest.approx(1)
    assert entries[16]["choice"]["shares"] == {"bicubic": 0, "noisy": 1}
    assert entries[16]["choice"]["evidence"] == 0.25
    assert "0.25 by depth" in entries[16]["choice"]["why"]
    assert entries[16]["weights"]["name"] == "noise"


def test_records_from_before_there_were_choices_are_resumed(tmp_path: Path, photo: Image) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, photo, stop_after=2)
    record = read_record(tmp_path)
    for entry in record["steps"]:
        del entry["choice"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    run(tmp_path, photo, resume=True)
    assert read_record(tmp_path)["status"] == "complete"
