"""Figures of the added evaluations, as plain data: medians, distances to real surfaces, seeds, and what real surfaces score themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainzoom.correctors.consistency import shrink
from chainzoom.errors import ChainzoomError
from chainzoom.evaluation.metrics import load_metrics
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.fidelity import luma
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import Method
from chainzoom.evaluation.runner import read_failures
from chainzoom.evaluation.samples import agreement
from chainzoom.evaluation.scoring import score_all, stored_runs
from chainzoom.evaluation.statistics import Interval
from chainzoom.evaluation.surfaces.judge import Judge
from chainzoom.evaluation.surfaces.patches import Look
from chainzoom.evaluation.surfaces.plans import METRICS
from chainzoom.images import Image
from chainzoom.pictures import read_png

REAL = "real surfaces"
_ALONE = ("niqe", "detail", "grid", "repetition")
"""Figures that a picture has by itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one scale: medians of its figures over pictures, and its distances to real surfaces by look (empty: not measured)."""

    method: str
    scale: float
    pictures: int
    medians: dict[str, float]
    distances: dict[Look, Interval]


@dataclass(frozen=True, slots=True)
class SeedRow:
    """Two seeds of one method at one scale, means over photos in grey levels of 255.

    full      root mean square difference of the states
    evidence  the same after shrinking both to the pixels of state 0 that they show; None where that is less than one
    share     share of the detail that differs (samples.agreement)
    """

    method: str
    scale: float
    photos: int
    full: float
    evidence: float | None
    share: float


def rows_of(plan: EvalPlan, out: Path, judge: Judge | None, looks: Sequence[Look] = ("grey", "colour"), draws: bool = False) -> list[Row]:
    """Every method at every scale; with ``draws`` methods that differ in their seed alone are one. Without ``judge`` no distances are
    measured.
    """
    scores = score_all(plan, out, load_metrics(METRICS), read_failures(out))
    rows = []
    for methods in _families(plan.methods) if draws else [[one] for one in plan.methods]:
        for scale in plan.scales:
            mine = [s for s in scores if s.method in {one.name for one in methods} and s.scale == scale]
            states = [state for one in methods for state in _states(plan, out, one, scale)]
            groups = {str(t.path): t.group for t in judge.textures} if judge else {}
            medians = {name: [s.value for s in mine if s.metric == name] for name in METRICS}
            if states:
                medians["contrast"] = [255 * float(luma(image).std()) for image, *_ in states]
            kept = {name: float(np.median(values)) for name, values in medians.items() if values}
            distances: dict[Look, Interval] = {}
            if judge is not None and len(states) > 1:
                images, names, materials, keys = ([state[k] for state in states] for k in range(4))
                # A state of a real surface goes by that surface's group: it is not compared with it.
                names = [groups.get(str(state[4]), state[1]) for state in states]
                for look in looks:
                    distances[look] = judge.distance(images, names, materials, look, keys=keys)  # type: ignore[arg-type]
            rows.append(Row(methods[0].name, scale, len(states), kept, distances))
    return rows


def real_row(judge: Judge, size: int, most: int = 80) -> Row:
    """What held-out surfaces score themselves: squares of ``size`` pixels from the middle of those that have them."""
    chosen = [t for t in judge.textures if t.split == "test" and t.kind == "texture" and set(t.materials) & set(judge.materials)]
    chosen = sorted((t for t in chosen if min(t.width, t.height) >= size), key=lambda t: t.sha256)[:most]
    metrics = load_metrics(_ALONE)
    found: dict[str, list[float]] = {name: [] for name in (*_ALONE, "contrast")}
    for texture in chosen:
        top, left = (texture.height - size) // 2, (texture.width - size) // 2
        image = texture.read()[top : top + size, left : left + size]
        found["contrast"].append(255 * float(luma(image).std()))
        for metric in metrics:
            try:
                value = metric.measure(Sample(image, 1.0))
            except ChainzoomError:
                continue
            if value is not None and np.isfinite(value):
                found[metric.name].append(value)
    return Row(REAL, 1.0, len(chosen), {name: float(np.median(v)) for name, v in found.items() if v}, {})


def seed_rows(plan: EvalPlan, out: Path) -> list[SeedRow]:
    """Methods in pairs (one seed, another): how far they differ, and how far what the photo says differs."""
    rows = []
    for first, second in zip(plan.methods[::2], plan.methods[1::2], strict=True):
        for scale in plan.scales:
            full, evidence, shares = [], [], []
            for item in plan.items:
                runs = stored_runs(plan, out, item)
                steps = [runs[m.name].step_at(scale) if m.name in runs else None for m in (first, second)]
                if steps[0] is None or steps[1] is None:
                    continue
                pair = [read_png(runs[m.name].folder / s["file"])[0] for m, s in zip((first, second), steps, strict=True) if s]
                full.append(_rms(*pair))
                shares.append(agreement(pair, scale).share)
                origin = (round(pair[0].shape[1] / scale), round(pair[0].shape[0] / scale))
                if min(origin) >= 1:
                    evidence.append(_rms(*(shrink(image, origin) for image in pair)))
            if full:
                mean = float(np.mean(evidence)) if evidence else None
                rows.append(SeedRow(first.name, scale, len(full), float(np.mean(full)), mean, float(np.mean(shares))))
    return rows


def _families(methods: Sequence[Method]) -> list[list[Method]]:
    """Methods that differ in their seed alone, together."""
    found: dict[tuple[str, str], list[Method]] = {}
    for one in methods:
        found.setdefault((one.preset, repr(sorted((k, v) for k, v in one.changes.items() if k != "seed"))), []).append(one)
    return list(found.values())


def _states(plan: EvalPlan, out: Path, method: Method, scale: float) -> list[tuple[Image, str, str, str, Path]]:
    """Picture, name, material, hash and input of every state of a method at a scale."""
    found = []
    for item in plan.items:
        run = stored_runs(plan, out, item).get(method.name)
        step = run.step_at(scale) if run else None
        if run is not None and step is not None:
            found.append((read_png(run.folder / step["file"])[0], item.name, item.material, str(step["sha256"]), item.path))
    return found


def _rms(a: Image, b: Image) -> float:
    return 255 * float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
