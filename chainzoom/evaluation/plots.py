"""One plot a metric: its mean against scale, a line a method, with the 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainzoom.atomic import atomic_path
from chainzoom.errors import MissingExtraError
from chainzoom.evaluation.metrics.base import Metric
from chainzoom.evaluation.summary import Summary
from chainzoom.report.frames import scale_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's palette, told apart by colour-blind readers; markers differ too."""
_MARKERS = "osD^vPX*"


def write_plots(summary: Summary, out: Path) -> list[Path]:
    """Write plots/METRIC.svg and .png for every metric with figures; returns the SVG paths. Raises MissingExtraError, OutputError."""
    folder = out / "plots"
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):
        old.unlink()
    return [_write(summary, metric, folder) for metric in summary.metrics]


def _write(summary: Summary, metric: Metric, folder: Path) -> Path:
    figure = draw(summary, metric)
    for suffix in ("png", "svg"):
        with atomic_path(folder / f"{metric.name}.{suffix}") as part:
            figure.savefig(part, dpi=160, metadata={"Date": None} if suffix == "svg" else None)
    return folder / f"{metric.name}.svg"


def draw(summary: Summary, metric: Metric) -> Any:
    """A matplotlib figure. Methods at the same scale stand a little apart, so that intervals do not hide each other."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plots", "matplotlib", "eval") from None
    plan = summary.plan
    scales = [scale for scale in plan.scales if any(summary.cell(scale, m.name, metric.name) for m in plan.methods)]
    methods = [m for m in plan.methods if any(summary.cell(scale, m.name, metric.name) for scale in scales)]
    with mpl.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "chainzoom", "svg.fonttype": "none"}
    ):
        figure = Figure(figsize=(6.2, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for k, method in enumerate(methods):
            offset = (k - (len(methods) - 1) / 2) * 0.07
            points = [
                (x + offset, cell.interval) for x, scale in enumerate(scales) if (cell := summary.cell(scale, method.name, metric.name))
            ]
            _line(axes, points, method.label, k)
        drawn = [cell.interval.mean for scale in scales for m in methods if (cell := summary.cell(scale, m.name, metric.name))]
        if max(drawn) == min(drawn) == 0:
            axes.set_ylim(-0.02, 1)  # nothing but zeros: an axis around them would look like noise
        if metric.better == "one":
            axes.axhline(1, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(scales)), [scale_text(scale) for scale in scales])
        axes.set_xlim(-0.5, len(scales) - 0.5)
        axes.set_ylabel(metric.label)
        axes.set_title(
            {"lower": "lower is better", "higher": "higher is better", "one": "1 is natural"}[metric.better]
            if metric.needs != "rival"
            else ""
        )
        axes.title.set(fontsize=8, color="#666666")
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _line(axes: Any, points: Sequence[tuple[float, Any]], label: str, number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
    x = [point for point, _ in points]
    means = [interval.mean for _, interval in points]
    spread = [[interval.mean - interval.low for _, interval in points], [interval.high - interval.mean for _, interval in points]]
    dashes = "-" if number < len(COLOURS) else "--"
    axes.errorbar(
        x,
        means,
        spread,
        color=colour,
        marker=marker,
        markersize=4.5,
        linewidth=1.3,
        elinewidth=0.9,
        capsize=2,
        label=label,
        linestyle=dashes,
    )
