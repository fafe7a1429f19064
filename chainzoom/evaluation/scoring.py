"""From stored pictures to figures: every state of every run, measured once and remembered by the pictures' hashes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chainzoom.atomic import write_bytes
from chainzoom.errors import ChainzoomError, OutputError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.metrics.base import Metric, Sample
from chainzoom.evaluation.metrics.fidelity import DEEPEST
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import Method
from chainzoom.images import Image, clip, resize
from chainzoom.photos import Photo
from chainzoom.pictures import read_png
from chainzoom.records import read_record

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Score:
    """One figure. ``failed`` says that ``value`` is what a failure is charged; ``reason`` why."""

    method: str
    image: str
    scale: float
    metric: str
    value: float
    failed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A stored run: its folder and record."""

    folder: Path
    record: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Entries of the states whose pictures are there."""
        return [step for step in self.record["steps"] if (self.folder / step["file"]).is_file()]

    def step_at(self, scale: float) -> dict[str, Any] | None:
        """The state at a scale."""
        return next((step for step in self.steps if step["kind"] == "synthesised" and abs(step["scale"] / scale - 1) < 1e-6), None)


def score_all(
    plan: EvalPlan,
    out: Path,
    metrics: Sequence[Metric],
    failures: dict[str, dict[str, str]],
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Measure what is not yet measured, charge the failures, and return every figure.

    Runs that were never started are left out; ``failures`` (method -> image -> reason) and pictures that a metric cannot score are charged
    ``Metric.failure``. A metric that refuses a picture never stops the others.
    """
    scores: list[Score] = []
    for count, item in enumerate(plan.items):
        runs = stored_runs(plan, out, item)
        found: list[Score] = []
        for method in plan.methods:
            if method.name in runs:
                found += _measure(plan, out, method, item, runs, metrics)
        scores += found + list(_charged(plan, item, runs, metrics, failures, found))
        if progress:
            progress(count + 1, len(plan.items))
    return scores


def stored_runs(plan: EvalPlan, out: Path, item: Item) -> dict[str, Run]:
    """The runs of a picture that have at least one state, by method."""
    runs = {}
    for method in plan.methods:
        folder = plan.run_folder(out, method, item)
        with suppress(OutputError):
            run = Run(folder, read_record(folder))
            if run.steps:
                runs[method.name] = run
    return runs


def _charged(
    plan: EvalPlan, item: Item, runs: dict[str, Run], metrics: Sequence[Metric], failures: dict[str, dict[str, str]], found: Sequence[Score]
) -> Iterable[Score]:
    """What failed runs cost: every figure that the other methods have at that scale, or all that need nothing if there are no others."""
    have = {(score.scale, score.metric) for score in found}
    for method in plan.methods:
        reason = failures.get(method.name, {}).get(item.name)
        if reason is None:
            continue
        for scale in plan.scales:
            if method.name in runs and runs[method.name].step_at(scale) is not None:
                continue  # made before it failed
            for metric in metrics:
                applies = (scale, metric.name) in have if have else metric.needs == ""
                if applies and metric.needs not in ("words", "rival"):
                    yield Score(method.name, item.name, scale, metric.name, metric.failure, True, reason)


def _measure(plan: EvalPlan, out: Path, method: Method, item: Item, runs: dict[str, Run], metrics: Sequence[Metric]) -> list[Score]:
    """The figures of one run, from the store where the pictures are the same."""
    run, rival = runs[method.name], _rival(runs, runs[method.name])
    path = out / "scores" / method.name / f"{item.name}.json"
    store = _read_store(path)
    fresh: dict[str, float | str | None] = {}
    scores = []
    for scale in plan.scales:
        step = run.step_at(scale)
        if step is None:
            continue
        # State 0, the state before and the state itself decide every figure; the rival only where there is one.
        hashes = [run.steps[0]["sha256"], run.steps[step["index"] - 1]["sha256"], step["sha256"]]
        other = rival.step_at(scale) if rival else None
        views = _Views(run, step, item, rival.folder / other["file"] if rival and other else None, plan)
        for metric in metrics:
            parts = [*hashes, metric.name, metric.version, *([other["sha256"]] if other and metric.needs == "rival" else [])]
            key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
            if key not in store:
                store[key] = fresh[key] = _figure(metric, views)
            value = store[key]
            if isinstance(value, str):
                scores.append(Score(method.name, item.name, scale, metric.name, metric.failure, True, f"{metric.name}: {value}"))
            elif value is not None:
                scores.append(Score(method.name, item.name, scale, metric.name, float(value)))
    if fresh:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(store, indent=0).encode())
    return scores


def _figure(metric: Metric, views: _Views) -> float | str | None:
    """A figure, None where it does not apply, or the reason why it failed."""
    try:
        value = metric.measure(views.sample(metric))
    except ChainzoomError as error:
        if metric.needs == "reference" or metric.name.startswith("pyiqa-"):
            raise  # weights or packages are missing: the user must know before an hour of charges is written
        return str(error)
    if value is not None and not math.isfinite(value):
        return "no finite figure for this picture"
    return value


def _read_store(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        return {}


def _rival(runs: dict[str, Run], mine: Run) -> Run | None:
    """The same run without words, if it is among the methods."""
    keys = ("protocol", "mode", "align", "consistency", "seed", "size", "step", "to")
    if mine.record["parts"]["prompter"]["name"] == "null" and not mine.record["user_prompt"]:
        return None
    for other in runs.values():
        silent = other.record["parts"]["prompter"]["name"] == "null" and not other.record["user_prompt"]
        same = other.record["parts"]["backbone"] == mine.record["parts"]["backbone"]
        if silent and same and all(other.record.get(key) == mine.record.get(key) for key in keys):
            return other
    return None


class _Views:
    """What a state may be compared with, read when first asked for."""

    def __init__(self, run: Run, step: dict[str, Any], item: Item, rival: Path | None, plan: EvalPlan) -> None:
        self._run, self._step, self._item, self._rival, self._plan = run, step, item, rival, plan
        self._sample: Sample | None = None
        self._reference: Image | None = None
        self._referenced = False

    def sample(self, metric: Metric) -> Sample:
        """The sample; true pixels are looked for only for a metric that needs them."""
        if self._sample is None:
            steps, step = self._run.steps, self._step
            before = steps[step["index"] - 1]
            image = _picture(self._run.folder / step["file"])
            self._sample = Sample(
                image,
                step["scale"],
                zoomed=_part(_picture(self._run.folder / before["file"]), before["region"], step["region"]),
                origin=_part(_picture(self._run.folder / steps[0]["file"]), steps[0]["region"], step["region"]),
                prompt=step["prompt"] if step["prompt_source"] != "null" else None,
                rival=None if self._rival is None else _picture(self._rival),
                raw_db=(step.get("consistency_db") or {}).get("raw"),
            )
        if metric.needs == "reference" and not self._referenced and self._step["scale"] <= DEEPEST * (1 + 1e-9):
            self._referenced = True
            shape = (self._sample.image.shape[1], self._sample.image.shape[0])
            self._reference = true_pixels(self._item, self._step["region"], shape, self._run.record["source"])
        if metric.needs != "reference" or self._reference is None:
            return self._sample
        return replace(self._sample, reference=self._reference)


@lru_cache(maxsize=6)
def _picture(path: Path) -> Image:
    return read_png(path)[0]


def _part(parent: Image, outer: Box, inner: Box) -> Image | None:
    """The part of a state that shows ``inner`` (source pixels), at the state's resolution; None under one pixel."""
    unit = ((outer[2] - outer[0]) / parent.shape[1], (outer[3] - outer[1]) / parent.shape[0])
    box = [(inner[k] - outer[k % 2]) / unit[k % 2] for k in range(4)]
    size = (round(box[2] - box[0]), round(box[3] - box[1]))
    if min(box[2] - box[0], box[3] - box[1]) < 1 - 1e-6:
        return None
    whole = [round(value) for value in box]
    if np.allclose(box, whole, atol=1e-4):
        return parent[whole[1] : whole[3], whole[0] : whole[2]]
    limits = (max(0.0, box[0]), max(0.0, box[1]), min(box[2], float(parent.shape[1])), min(box[3], float(parent.shape[0])))
    return clip(resize(parent, size, "bicubic", limits))


def true_pixels(item: Item, region: Box, shape: tuple[int, int], source: dict[str, Any]) -> Image | None:
    """The photo's own pixels of ``region``, or its paired picture's, when they are at least ``shape`` = (w, h); None otherwise."""
    for path in filter(None, (item.reference, item.path)):
        photo = Photo.open(path)
        unit = (photo.width / source["width"], photo.height / source["height"])
        x0, y0, x1, y1 = (value * unit[k % 2] for k, value in enumerate(region))
        if x1 - x0 >= shape[0] * (1 - 1e-3) and y1 - y0 >= shape[1] * (1 - 1e-3):
            box = (max(0.0, x0), max(0.0, y0), min(x1, float(photo.width)), min(y1, float(photo.height)))
            return photo.read(box, shape)
    return None
