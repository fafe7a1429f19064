"""From stored runs to everything that people look at: figures, tables, plots, contact sheets, the page."""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path

from chainzoom.atomic import write_bytes
from chainzoom.errors import MissingExtraError
from chainzoom.evaluation.ablations import spread
from chainzoom.evaluation.metrics.base import Metric
from chainzoom.evaluation.page import render_page
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.plots import write_plots
from chainzoom.evaluation.runner import read_failures
from chainzoom.evaluation.scoring import score_all
from chainzoom.evaluation.sheets import write_sheets
from chainzoom.evaluation.summary import Summary, summarise
from chainzoom.evaluation.tables import write_tables

NEEDS = ("matplotlib", "pyarrow", "scipy")


def check_extra() -> None:
    """Raise MissingExtraError unless everything that a report is drawn with is installed."""
    for name in NEEDS:
        if util.find_spec(name) is None:
            raise MissingExtraError("an evaluation", name, "eval")


def build(
    plan: EvalPlan, out: Path, metrics: tuple[Metric, ...], progress: Callable[[int, int], None] | None = None
) -> tuple[Summary, list[Path]]:
    """Score the runs in ``out`` and write tables, plots, sheets and index.html; returns the summary and the paths.

    Figures of pictures that have not changed are not measured again. Raises OutputError, MissingExtraError, WeightsError.
    """
    scores = score_all(plan, out, metrics, read_failures(out), progress)
    summary = summarise(plan, metrics, scores)
    paths = write_tables(summary, out)
    lines = [f"{scale:g},{metric},{value:.6g},{count}" for scale, metric, value, count in spread(scores)]
    write_bytes(out / "spread.csv", "\n".join(["scale,metric,mean_std_between_methods,images", *lines, ""]).encode())
    plots, sheets = write_plots(summary, out), write_sheets(plan, out, scores)
    write_bytes(out / "index.html", render_page(summary, plots, sheets, out).encode())
    return summary, [*paths, out / "spread.csv", out / "plots", out / "sheets", out / "index.html"]
