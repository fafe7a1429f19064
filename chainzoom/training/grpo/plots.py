"""Curves of a run: every reward over the steps, as in the paper's figure, with the validation's beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.atomic import atomic_path
from chainzoom.extras import need

PLOT = "rewards.png"
_PREFIXES = ("reward/", "figure/", "abstained/")


def series(log: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one figure in a run's log."""
    points = [(int(entry["step"]), float(entry[name])) for entry in log if name in entry]
    return [step for step, _ in points], [value for _, value in points]


def smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """A centred moving average over ``share`` of the points; shorter towards both ends, so that nothing is made up there."""
    half = max(0, round(len(values) * share / 2))
    made = []
    for at in range(len(values)):
        reach = min(half, at, len(values) - 1 - at)
        window = values[at - reach : at + reach + 1]
        made.append(sum(window) / len(window))
    return made


def panels(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the curves to draw: the total, each reward, the figures that rewards left, abstentions where there were any."""
    names = dict.fromkeys(key for entry in log for key in entry if key.startswith(_PREFIXES))
    drawn = [name for name in names if not name.startswith("abstained/") or any(series(log, name)[1])]
    return sorted(drawn, key=lambda name: (name != "reward/total", _PREFIXES.index(name.split("/")[0] + "/")))


def draw(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the curves as a PNG. Raises MissingExtraError, OutputError."""
    need("matplotlib", "the plot of the rewards", extra="train")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = panels(log)
    columns = min(3, max(1, len(names)))
    rows = -(-len(names) // columns) or 1
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        steps, values = series(log, name)
        axes.plot(steps, values, color="#9ab", linewidth=0.6, alpha=0.6)
        axes.plot(steps, smooth(values), color="#147", linewidth=1.6, label="training")
        seen = series(log, f"validation/{name}")
        if seen[0]:
            axes.plot(*seen, "o-", color="#c50", markersize=3, linewidth=1.0, label="validation")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if number == 0:
            axes.legend(fontsize=8, frameon=False)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=120, format="png", metadata={"Software": None})
