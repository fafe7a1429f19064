"""What every training run has on disk."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from chainzoom.errors import OptionError, OutputError
from chainzoom.training.runs import (
    Writer,
    check_same,
    keep_last,
    open_run,
    read_log,
    restore_rng,
    rng_state,
    saved_steps,
    seed_everything,
    step_folder,
    unfinished_step,
)


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_generators_go_on_after_a_round_through_a_file(tmp_path: Path) -> None:
    seed_everything(5)
    np.random.standard_normal()  # leaves half a pair inside NumPy's generator
    torch.save(rng_state(), tmp_path / "rng.pt")
    wanted = drawn(), np.random.standard_normal()
    seed_everything(9)
    restore_rng(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert (drawn(), np.random.standard_normal()) == wanted


def test_a_run_is_not_overwritten_and_not_invented(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no run to resume"):
        open_run(tmp_path / "run", "a = 1", resume=True)
    open_run(tmp_path / "run", "a = 1", resume=False)
    with pytest.raises(OutputError, match="--resume"):
        open_run(tmp_path / "run", "a = 1", resume=False)
    open_run(tmp_path / "run", "a = 2", resume=True)
    assert (tmp_path / "run" / "config.toml").read_text() == "a = 2"


def test_step_folders_are_whole_or_not_there(tmp_path: Path) -> None:
    for step in (3, 12, 7):
        with unfinished_step(tmp_path, step) as scratch:
            (scratch / "file").write_text(str(step))
    with pytest.raises(ZeroDivisionError), unfinished_step(tmp_path, 20) as scratch:
        (scratch / "file").write_text(str(1 / 0))
    (tmp_path / ".unfinished-000030").mkdir()
    assert saved_steps(tmp_path) == [3, 7, 12]
    assert not (tmp_path / ".unfinished-000030").exists()
    keep_last(tmp_path, 2)
    assert saved_steps(tmp_path) == [7, 12]
    assert (step_folder(tmp_path, 12) / "file").read_text() == "12"


def test_a_resumed_log_forgets_what_came_after(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for step in (1, 2, 3):
        writer.scalars(step, {"loss/total": float(step)})
    writer.picture(3, "p", np.zeros((8, 8, 3), np.float32))
    writer.text(3, "t", "words")
    writer.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "loss/to')
    writer = Writer(tmp_path, step=2)
    writer.scalars(3, {"loss/total": 9.0})
    writer.close()
    assert [(entry["step"], entry["loss/total"]) for entry in read_log(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert list((tmp_path / "tensorboard").iterdir())


def test_differences_are_named(tmp_path: Path) -> None:
    check_same({"a": 1}, {"a": 1}, tmp_path)
    with pytest.raises(OptionError, match="b = 2, the configuration now says None"):
        check_same({"a": 1, "b": 2}, {"a": 1}, tmp_path)
