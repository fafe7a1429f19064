"""The guard against spoilt runs, and progress."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from chainzoom.training.loop import Guard, Progress, TrainingStoppedError, duration
from chainzoom.training.runs import unfinished_step


def test_nan_and_infinity_stop_at_once(tmp_path: Path) -> None:
    with unfinished_step(tmp_path, 4):
        pass
    for value in (math.nan, math.inf):
        with pytest.raises(TrainingStoppedError, match="step-000004"):
            Guard(tmp_path).check(9, {"loss": value})
    with pytest.raises(TrainingStoppedError, match="no checkpoint was written"):
        Guard(tmp_path / "none").check(1, {"loss": math.nan})


def test_an_explosion_stops_but_one_bad_batch_does_not(tmp_path: Path) -> None:
    guard = Guard(tmp_path, factor=10, patience=3, window=5)
    for step in range(5):
        guard.check(step, {"loss": 1.0})
    guard.check(5, {"loss": 50.0})
    guard.check(6, {"loss": 50.0})
    guard.check(7, {"loss": 1.0})
    guard.check(8, {"loss": 50.0})
    guard.check(9, {"loss": 50.0})
    with pytest.raises(TrainingStoppedError, match="50 times its median"):
        guard.check(10, {"loss": 50.0})


def test_what_begins_at_zero_may_grow(tmp_path: Path) -> None:
    guard = Guard(tmp_path, factor=10, patience=1, window=3, explosive=("total",))
    for step, value in enumerate((1e-9, 1e-8, 1e-6, 0.1, 2.0)):
        guard.check(step, {"vsd": value, "total": 1.0})
    with pytest.raises(TrainingStoppedError, match="vsd is nan"):
        guard.check(6, {"vsd": math.nan})
    with pytest.raises(TrainingStoppedError, match="total is 11"):
        guard.check(7, {"total": 11.0})


def test_the_guard_remembers_over_a_resume(tmp_path: Path) -> None:
    guard = Guard(tmp_path, factor=10, patience=2, window=3)
    for step in range(3):
        guard.check(step, {"loss": 1.0})
    guard.check(3, {"loss": 99.0})
    other = Guard(tmp_path, factor=10, patience=2, window=3)
    other.load_state_dict(guard.state_dict())
    with pytest.raises(TrainingStoppedError):
        other.check(4, {"loss": 99.0})


def test_progress_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("chainzoom.training.loop.time.monotonic", lambda: clock[0])
    said: list[str] = []
    bar = Progress(said.append, 100, 40, every=10)
    for step in range(41, 46):
        clock[0] += 6
        bar.step(step, {"loss": 0.5}, items=4)
    assert said[0] == "step 41/100  0.667 items/s  ETA 0:05:54  loss 0.5"
    assert len(said) == 3


def test_durations() -> None:
    assert (duration(3723), duration(59.6), duration(math.inf)) == ("1:02:03", "0:01:00", "?")
