"""Tables on disk: Markdown, LaTeX, CSV, and every single figure as Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from chainzoom.atomic import atomic_path, write_bytes
from chainzoom.errors import MissingExtraError
from chainzoom.evaluation.metrics.base import Metric
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.scoring import Score
from chainzoom.evaluation.summary import Cell, Summary, published
from chainzoom.report.frames import scale_text

_TEX = {
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→1": r"$\rightarrow 1$",
    "Δ": r"$\Delta$",
    "%": r"\%",
    "&": r"\&",
    "_": r"\_",
    "#": r"\#",
}


def write_tables(summary: Summary, out: Path) -> list[Path]:
    """Write table.md, table.tex, table.csv, tests.csv and scores.parquet; returns their paths. Raises OutputError, MissingExtraError."""
    texts = {"table.md": markdown(summary), "table.tex": latex(summary), "table.csv": long_csv(summary), "tests.csv": tests_csv(summary)}
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    write_parquet(summary.plan, summary.scores, out / "scores.parquet")
    return [*(out / name for name in texts), out / "scores.parquet"]


def figure(cell: Cell | None, metric: Metric) -> str:
    """``4.73 ±0.21``: the mean and half its 95 % interval; with ``!2`` after it when two images failed."""
    if cell is None:
        return "–"
    half = (cell.interval.high - cell.interval.low) / 2
    return f"{cell.interval.mean:.{metric.digits}f} ±{half:.{metric.digits}f}" + (f" !{cell.failed}" if cell.failed else "")


def heading(summary: Summary, scale: float, metric: Metric) -> str:
    """A column's heading; it says so when its methods do not all have every picture, since their means are then over different ones."""
    counts = {c.interval.count for method in summary.plan.methods if (c := summary.cell(scale, method.name, metric.name))}
    few = f" (n {min(counts)})" if len(counts) == 1 else f" (n {min(counts)} to {max(counts)})"
    few = "" if counts == {len(summary.plan.items)} else few
    return f"{metric.label} {metric.arrow}{few}"


def columns(summary: Summary, scale: float) -> list[Metric]:
    """The metrics that any method has at a scale."""
    return [m for m in summary.metrics if any(summary.cell(scale, method.name, m.name) for method in summary.plan.methods)]


def markdown(summary: Summary) -> str:
    """A block a scale, a row a method; the best mean in bold."""
    plan = summary.plan
    parts = [f"# {plan.dataset['name']}: {len(plan.items)} pictures, protocol {plan.protocol}\n", caption(plan) + "\n"]
    for scale in plan.scales:
        metrics = columns(summary, scale)
        parts.append(f"## {scale_text(scale)}\n")
        heads = [heading(summary, scale, m) for m in metrics]
        lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(metrics)]
        for method in plan.methods:
            cells = []
            for m in metrics:
                text = figure(summary.cell(scale, method.name, m.name), m)
                cells.append(f"**{text}**" if method.name in summary.best(scale, m) else text)
            lines.append(f"| {method.label} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    rows, source, backbone = published()
    parts.append(f"## Published\n\n{source}; {backbone}; other pictures, so compare the shape of the figures and not the figures.\n")
    names = [("niqe", "NIQE ↓"), ("pyiqa-musiq", "MUSIQ ↑"), ("pyiqa-maniqa-pipal", "MANIQA ↑"), ("pyiqa-clipiqa", "CLIPIQA ↑")]
    lines = ["| published | set | scale | " + " | ".join(label for _, label in names) + " |", "|---|---|---:|" + "---:|" * len(names)]
    for row in rows:
        if row.scale in plan.scales:
            lines.append(
                f"| {row.method} | {row.dataset} | {scale_text(row.scale)} | " + " | ".join(f"{row.figures[n]:g}" for n, _ in names) + " |"
            )
    parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def caption(plan: EvalPlan) -> str:
    """What the figures are, in a sentence or two."""
    text = (
        "Means over pictures ± half the 95 % bootstrap interval; best in bold. `!n`: n pictures failed and were charged the worst figure."
    )
    absent = "; ".join(f"{name}: {reason}" for name, reason in plan.absent.items())
    return f"{plan.note} {text}".strip() + (f" Not run here: {absent}." if absent else "")


def latex(summary: Summary) -> str:
    """The same blocks for LaTeX with booktabs."""
    plan, metrics = summary.plan, [m for m in summary.metrics if m.needs != "rival"]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        "\\toprule",
        " & ".join(["Method", *(_tex(f"{m.label} {m.arrow}") for m in metrics)]) + r" \\",
    ]
    for scale in plan.scales:
        heading = scale_text(scale).removesuffix("x") + r"$\times$"
        lines += [r"\midrule", rf"\multicolumn{{{len(metrics) + 1}}}{{l}}{{\textbf{{{heading}}}}} \\"]
        for method in plan.methods:
            cells = []
            for m in metrics:
                cell = summary.cell(scale, method.name, m.name)
                text = "--" if cell is None else f"{cell.interval.mean:.{m.digits}f}"
                cells.append(f"\\textbf{{{text}}}" if method.name in summary.best(scale, m) else text)
            lines.append(" & ".join([_tex(method.label), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _tex(text: str) -> str:
    for sign, escaped in _TEX.items():
        text = text.replace(sign, escaped) if sign != "_" else text.replace("_", escaped)
    return text


def long_csv(summary: Summary) -> str:
    """One line for each scale, method and metric."""
    rows = [
        (f"{scale:g}", method, metric, repr(c.interval.mean), repr(c.interval.low), repr(c.interval.high), c.interval.count, c.failed)
        for (scale, method, metric), c in sorted(summary.cells.items())
    ]
    return _csv(("scale", "method", "metric", "mean", "low95", "high95", "images", "failed"), rows)


def tests_csv(summary: Summary) -> str:
    """One line for each pair of methods, scale and metric."""
    rows = []
    for t in summary.tests:
        gap, result = t.result.difference, t.result
        figures = (result.effect, result.t_test, t.adjusted[0], result.wilcoxon, t.adjusted[1])
        means = (gap.mean, gap.low, gap.high)
        rows.append([f"{t.scale:g}", t.metric, t.a, t.b, *(f"{v:.6g}" for v in means), gap.count, *(f"{v:.6g}" for v in figures)])
    head = (
        "scale",
        "metric",
        "a",
        "b",
        "mean_a_minus_b",
        "low95",
        "high95",
        "images",
        "cohen_d",
        "t_p",
        "t_p_holm",
        "wilcoxon_p",
        "wilcoxon_p_holm",
    )
    return _csv(head, rows)


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def write_parquet(plan: EvalPlan, scores: Sequence[Score], path: Path) -> None:
    """Every figure: method, image, scale, metric, value, failed, reason. Raises MissingExtraError without PyArrow."""
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("the table of single figures", "pyarrow", "eval") from None
    names = ("method", "image", "scale", "metric", "value", "failed", "reason")
    table = pa.table({name: [getattr(score, name) for score in scores] for name in names})
    meta = {"dataset": plan.dataset["name"], "protocol": plan.protocol, "seed": str(plan.seed), "command": plan.command}
    with atomic_path(path) as part:
        parquet.write_table(table.replace_schema_metadata(meta), part)
