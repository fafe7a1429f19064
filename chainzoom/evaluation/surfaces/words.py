"""Do words matter: is the prompted material recognised in what grows from inputs that show nothing?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import Method
from chainzoom.evaluation.scoring import Run, stored_runs
from chainzoom.evaluation.statistics import Interval, bootstrap
from chainzoom.evaluation.surfaces.judge import Judge
from chainzoom.evaluation.surfaces.plans import word_item
from chainzoom.pictures import read_png

PATCHES = 2
ROUNDS = 1000
NamedStates = NDArray[np.intp]
"""(inputs, prompts): the number of the material that each state shows."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """One method after some steps.

    share        of states in which the prompted material is named, with an interval over inputs
    shuffled     the same when each input's prompts are dealt anew: mean and 97.5 % quantile over ROUNDS deals
    by_material  share a prompted material
    confusion    (prompted, named) counts
    wordless     what is named where nothing is prompted: counts
    """

    method: str
    scale: float
    share: Interval
    shuffled: tuple[float, float]
    by_material: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    wordless: tuple[int, ...]


def recognise(judge: Judge, plan: EvalPlan, out: Path, worded: bool, progress: Callable[[str], None] = lambda _: None) -> list[Recognition]:
    """Every method of a plan of blurred inputs after every step. Inputs without all their runs are left out.

    ``worded`` False: there is one run an input, which stands for every prompt.
    """
    found = []
    inputs = [item.name.rpartition("-")[0] for item in plan.items if not item.material]
    items = {item.name: item for item in plan.items}
    for method in plan.methods:
        for scale in plan.scales:
            rows, empty = [], []
            for name in inputs:
                states = _states(
                    plan, out, method, [items[word_item(name, m)] for m in (("", *judge.materials) if worded else ("",))], scale
                )
                if states is None:
                    continue
                images, keys = [read_png(path)[0] for path, _ in states], [key for _, key in states]
                named = judge.scores(images, [name] * len(images), PATCHES, keys).argmax(axis=1)
                empty.append(int(named[0]))
                rows.append(named[1:] if worded else np.repeat(named, len(judge.materials)))
            if rows:
                found.append(count_named(method.name, scale, np.stack(rows), judge.materials, empty))
            progress(f"{method.name} at {scale:g}x")
    return found


def count_named(method: str, scale: float, named: NamedStates, materials: tuple[str, ...], wordless: list[int]) -> Recognition:
    """The counts of (inputs, prompts) named states; prompts are in the order of ``materials``."""
    prompted = np.arange(len(materials))
    right = named == prompted
    confusion = np.zeros((len(materials), len(materials)), dtype=int)
    np.add.at(confusion, (np.broadcast_to(prompted, named.shape), named), 1)
    random = np.random.default_rng(0)
    deals = [float(np.mean(named == random.permuted(np.broadcast_to(prompted, named.shape), axis=1))) for _ in range(ROUNDS)]
    return Recognition(
        method,
        scale,
        bootstrap(right.mean(axis=1)),
        (float(np.mean(deals)), float(np.quantile(deals, 0.975))),
        {name: float(share) for name, share in zip(materials, right.mean(axis=0), strict=True)},
        tuple(tuple(int(v) for v in row) for row in confusion),
        tuple(int(v) for v in np.bincount(wordless, minlength=len(materials))),
    )


def _states(plan: EvalPlan, out: Path, method: Method, items: list[Item], scale: float) -> list[tuple[Path, str]] | None:
    """File and hash of the state of each item, or None where one is missing."""
    states = []
    for item in items:
        run: Run | None = stored_runs(plan, out, item).get(method.name)
        step = run.step_at(scale) if run else None
        if run is None or step is None:
            return None
        states.append((run.folder / step["file"], str(step["sha256"])))
    return states
