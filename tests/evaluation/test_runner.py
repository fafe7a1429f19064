"""Runs: what is missing is run, what fails is written down, what was stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainzoom.chain import Chain
from chainzoom.errors import OutputError
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.runner import read_failures, run_missing
from chainzoom.records import read_record

Plans = Callable[..., EvalPlan]


def test_everything_is_run_and_a_torn_picture_stops_nothing(make_plan: Plans, tmp_path: Path) -> None:
    plan, out = make_plan(), tmp_path / "out"
    outcomes = [(done.method.name, done.item.name, done.outcome) for done in run_missing(plan, out)]
    assert outcomes == [
        (method, name, "failed" if name == "torn" else "made")
        for method in ("bicubic-nearest", "bicubic")
        for name in ("large", "small", "torn")
    ]
    failures = read_failures(out)
    assert set(failures) == {"bicubic-nearest", "bicubic"}
    assert "damaged" in failures["bicubic"]["torn"]
    record = read_record(out / "runs" / "bicubic" / "large")
    assert record["status"] == "complete"
    assert [step["scale"] for step in record["steps"]] == [1, 4, 16]
    assert not (out / "runs" / "bicubic" / "large" / ".resume").exists()


def test_what_is_there_is_kept_and_the_failed_are_tried_again(make_plan: Plans, tmp_path: Path, photos: Path) -> None:
    plan, out = make_plan("bicubic"), tmp_path / "out"
    list(run_missing(plan, out))
    before = (out / "runs" / "bicubic" / "large" / "states" / "2.png").stat().st_mtime_ns
    (photos / "torn.png").write_bytes((photos / "small.jpg").read_bytes())
    outcomes = [done.outcome for done in run_missing(plan, out)]
    assert outcomes == ["kept", "kept", "made"]
    assert read_failures(out)["bicubic"] == {}
    assert (out / "runs" / "bicubic" / "large" / "states" / "2.png").stat().st_mtime_ns == before


def test_a_lost_state_is_made_again(make_plan: Plans, tmp_path: Path) -> None:
    plan, out = make_plan("bicubic"), tmp_path / "out"
    list(run_missing(plan, out))
    lost = out / "runs" / "bicubic" / "small" / "states" / "1.png"
    content = lost.read_bytes()
    lost.unlink()
    assert [done.outcome for done in run_missing(plan, out)][:2] == ["kept", "made"]
    assert lost.read_bytes() == content


def test_interrupted_runs_go_on_to_the_same_bytes(make_plan: Plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan("bicubic")
    list(run_missing(plan, tmp_path / "whole"))
    real = Chain.run

    def stopped(self: Chain, *args: Any, **more: Any) -> Iterator[Any]:
        for step in real(self, *args, **more):
            yield step
            if step.index == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(Chain, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        list(run_missing(plan, tmp_path / "out"))
    assert read_record(tmp_path / "out" / "runs" / "bicubic" / "large")["status"] == "interrupted"
    monkeypatch.setattr(Chain, "run", real)
    list(run_missing(plan, tmp_path / "out"))
    for name in ("large", "small"):
        for k in range(3):
            one, other = (
                (tmp_path / folder / "runs" / "bicubic" / name / "states" / f"{k}.png").read_bytes() for folder in ("whole", "out")
            )
            assert one == other


def test_an_error_in_the_middle_of_a_chain_is_the_pictures_alone(make_plan: Plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Chain.run

    def fragile(self: Chain, image: Any, **more: Any) -> Iterator[Any]:
        for step in real(self, image, **more):
            if step.index == 2 and image.path.stem == "large":
                raise ValueError("the backbone\nran away")
            yield step

    monkeypatch.setattr(Chain, "run", fragile)
    outcomes = {done.item.name: done for done in run_missing(make_plan("bicubic"), tmp_path / "out")}
    assert outcomes["large"].reason == "ValueError: the backbone ran away"
    assert outcomes["small"].outcome == "made"


def test_runs_of_other_settings_are_not_mixed(make_plan: Plans, tmp_path: Path) -> None:
    list(run_missing(make_plan("bicubic"), tmp_path))
    with pytest.raises(OutputError, match="was made with seed = 0, now it is 5; choose another --out"):
        list(run_missing(make_plan("bicubic", seed=5), tmp_path))


def test_a_method_has_its_own_seed(make_plan: Plans, tmp_path: Path) -> None:
    list(run_missing(make_plan("bicubic:seed=9"), tmp_path))
    assert read_record(tmp_path / "runs" / "bicubic-seed9" / "small")["seed"] == 9


def test_a_run_can_be_reported_like_any_other(make_plan: Plans, tmp_path: Path) -> None:
    from chainzoom.report.build import load_run

    list(run_missing(make_plan("bicubic"), tmp_path))
    frames, summary, _ = load_run(tmp_path / "runs" / "bicubic" / "small")
    assert len(frames) == 3
    assert summary.protocol == "paper"
