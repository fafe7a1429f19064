"""From single figures to means with intervals, paired tests, and the paper's published rows."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import combinations

from chainzoom.evaluation.metrics.base import Metric
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.scoring import Score
from chainzoom.evaluation.statistics import Interval, Paired, bootstrap, holm, paired


@dataclass(frozen=True, slots=True)
class Cell:
    """A method's mean at a scale, and how many of its images were charged as failed."""

    interval: Interval
    failed: int


@dataclass(frozen=True, slots=True)
class Test:
    """A paired comparison of methods ``a`` and ``b``; ``adjusted`` are its p-values after Holm's correction within the metric."""

    scale: float
    metric: str
    a: str
    b: str
    result: Paired
    adjusted: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of the paper's table."""

    dataset: str
    scale: float
    method: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that tables, plots and the page show."""

    plan: EvalPlan
    metrics: tuple[Metric, ...]
    cells: dict[tuple[float, str, str], Cell]
    tests: tuple[Test, ...]
    scores: tuple[Score, ...]

    def cell(self, scale: float, method: str, metric: str) -> Cell | None:
        """A mean, or None where there is no figure."""
        return self.cells.get((scale, method, metric))

    def best(self, scale: float, metric: Metric) -> frozenset[str]:
        """The methods with the best mean at a scale; empty when fewer than two have one, all are equal, or none is better or worse."""
        means = {method.name: cell.interval.mean for method in self.plan.methods if (cell := self.cell(scale, method.name, metric.name))}
        if metric.needs == "rival" or len(means) < 2:
            return frozenset()
        worth = {name: {"lower": mean, "higher": -mean, "one": abs(mean - 1)}[metric.better] for name, mean in means.items()}
        first = frozenset(name for name, value in worth.items() if value <= min(worth.values()) + 1e-12)
        return first if len(first) < len(means) else frozenset()

    def failures(self) -> list[Score]:
        """One entry for each failed method, image and reason."""
        seen = {(score.method, score.image, score.reason): score for score in reversed(self.scores) if score.failed}
        return sorted(seen.values(), key=lambda score: (score.method, score.image, score.scale))


def summarise(plan: EvalPlan, metrics: Sequence[Metric], scores: Sequence[Score]) -> Summary:
    """Means over images with 95 % intervals, and every pair of methods compared on the images that both have.

    Metrics without a single figure are left out.
    """
    table: dict[tuple[float, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        table[score.scale, score.method, score.metric][score.image] = score
    cells = {
        key: Cell(bootstrap([score.value for score in found.values()]), sum(score.failed for score in found.values()))
        for key, found in table.items()
    }
    kept = tuple(metric for metric in metrics if any(key[2] == metric.name for key in cells))
    return Summary(plan, kept, cells, tuple(_tests(plan, kept, table)), tuple(scores))


def _tests(plan: EvalPlan, metrics: Sequence[Metric], table: dict[tuple[float, str, str], dict[str, Score]]) -> list[Test]:
    tests: list[Test] = []
    for metric in metrics:
        if metric.needs == "rival":
            continue
        found = []
        for scale in plan.scales:
            for a, b in combinations(plan.methods, 2):
                mine, other = table.get((scale, a.name, metric.name), {}), table.get((scale, b.name, metric.name), {})
                both = [name for name in mine if name in other]
                if len(both) >= 2:
                    result = paired([mine[name].value for name in both], [other[name].value for name in both])
                    found.append((scale, a.name, b.name, result))
        corrected = zip(*(holm([getattr(entry[3], kind) for entry in found]) for kind in ("t_test", "wilcoxon")), strict=True)
        tests += [
            Test(scale, metric.name, a, b, result, (float(t), float(w)))
            for (scale, a, b, result), (t, w) in zip(found, corrected, strict=True)
        ]
    return tests


@lru_cache(maxsize=1)
def published() -> tuple[tuple[PublishedRow, ...], str, str]:
    """The paper's rows, where they are printed, and the backbone behind them."""
    data = tomllib.loads((resources.files("chainzoom.evaluation") / "published.toml").read_text(encoding="utf-8"))
    rows = [
        PublishedRow(dataset, float(scale), method, dict(zip(data["columns"], figures, strict=True)))
        for dataset in ("DIV2K", "DIV8K")
        for scale, methods in data[dataset].items()
        for method, figures in methods.items()
    ]
    return tuple(rows), data["source"], data["backbone"]
