"""The page of an evaluation: tables with the paper's rows beside ours, plots, tests, contact sheets. No script, no server."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from PIL import Image as PILImage

from chainzoom.evaluation.metrics.base import Metric
from chainzoom.evaluation.summary import Cell, Summary, Test, published
from chainzoom.evaluation.tables import columns, heading
from chainzoom.report.frames import scale_text
from chainzoom.version import __version__

_CAUTION = (
    "Scores without a reference reward invented texture, and deeper than 4x nobody knows the truth: read them beside the consistency "
    "figures, which cannot be raised by inventing."
)
_FILES = ("table.md", "table.tex", "table.csv", "tests.csv", "spread.csv", "scores.parquet", "eval.json")
_DECIMALS = {"niqe": 2, "pyiqa-musiq": 2, "pyiqa-maniqa-pipal": 4, "pyiqa-clipiqa": 4}
_COLUMNS = {"niqe": "NIQE ↓", "pyiqa-musiq": "MUSIQ ↑", "pyiqa-maniqa-pipal": "MANIQA ↑", "pyiqa-clipiqa": "CLIPIQA ↑"}


def render_page(summary: Summary, plots: Sequence[Path], sheets: Sequence[Path], out: Path) -> str:
    """The page as HTML; pictures are named by their address relative to ``out``. Every text is escaped."""
    plan = summary.plan
    template = resources.files("chainzoom.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", template, re.DOTALL)
    assert style is not None
    sections = [
        ("figures", "Figures", _tables(summary)),
        ("plots", "Against scale", _plots(summary, plots, out)),
        ("published", "Published by the paper", _published(summary)),
        ("tests", "Paired tests", _tests(summary)),
        ("failures", "Failures", _failures(summary)),
        ("sheets", "Contact sheets", _sheets(sheets, out)),
        ("how", "How it was measured", _how(summary)),
    ]
    made = [(name, heading, body) for name, heading, body in sections if body]
    return Template(template).substitute(
        style_hash=base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode(),
        title=_text(f"{plan.dataset['name']} – chainzoom evaluation"),
        version=_text(__version__),
        protocol=_text(plan.protocol),
        heading=_text(f"{plan.dataset['name']}: {len(plan.items)} pictures"),
        lead=_text(f"{len(plan.methods)} methods at {', '.join(scale_text(scale) for scale in plan.scales)}. {plan.note}".strip()),
        caution=_text(_CAUTION),
        nav="".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in made),
        sections="\n".join(f'<section aria-labelledby="{n}"><h2 id="{n}">{heading}</h2>{body}</section>' for n, heading, body in made),
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _scroll(label: str, head: str, rows: Iterable[str]) -> str:
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(label)}">{body}</div>'


def _number(text: str) -> str:
    return f'<td class="num">{_text(text)}</td>'


def _head(names: Sequence[str]) -> str:
    return "".join(f'<th scope="col"{" class=num" if k else ""}>{_text(name)}</th>' for k, name in enumerate(names))


def _tables(summary: Summary) -> str:
    """A block a scale: our rows, then the paper's in the columns that both have."""
    parts = ['<p class="small">Means over pictures, with half the 95 % bootstrap interval below; the best is marked. ']
    parts.append("Rows marked published are the paper's own figures, on other pictures and with another backbone.</p>")
    for scale in summary.plan.scales:
        metrics = columns(summary, scale)
        heads = [heading(summary, scale, m) for m in metrics]
        rows = []
        for method in summary.plan.methods:
            cells = (_cell(summary.cell(scale, method.name, m.name), m, method.name in summary.best(scale, m)) for m in metrics)
            rows.append(f'<tr><th scope="row">{_text(method.label)}</th>{"".join(cells)}</tr>')
        rows += _published_rows(scale, metrics)
        label = scale_text(scale)
        parts.append(f"<h3>{label}</h3>" + _scroll(f"Figures at {label}", _head(["Method", *heads]), rows))
    return "".join(parts)


def _cell(cell: Cell | None, metric: Metric, best: bool) -> str:
    if cell is None:
        return '<td class="num">–</td>'
    half = (cell.interval.high - cell.interval.low) / 2
    failed = f'<span class="pm fail">{cell.failed} failed</span>' if cell.failed else ""
    mean = f"{cell.interval.mean:.{metric.digits}f}"
    return f'<td class="num{" best" if best else ""}"><b>{mean}</b><span class="pm">±{half:.{metric.digits}f}</span>{failed}</td>'


def _published_rows(scale: float, metrics: Sequence[Metric]) -> list[str]:
    if not any(m.name in _COLUMNS for m in metrics):
        return []
    rows = []
    for row in published()[0]:
        if row.scale == scale:
            figures = "".join(_number(f"{row.figures[m.name]:.{_DECIMALS[m.name]}f}" if m.name in row.figures else "") for m in metrics)
            name = f'{_text(row.method)}, {row.dataset} <span class="pill">published</span>'
            rows.append(f'<tr class="published"><th scope="row">{name}</th>{figures}</tr>')
    return rows


def _published(summary: Summary) -> str:
    rows, source, backbone = published()
    here = [row for row in rows if row.scale in summary.plan.scales]
    if not here:
        return ""
    body = []
    for row in here:
        cells = [row.dataset, scale_text(row.scale), *(f"{row.figures[name]:.{_DECIMALS[name]}f}" for name in _COLUMNS)]
        body.append(f'<tr class="published"><th scope="row">{_text(row.method)}</th>{"".join(map(_number, cells))}</tr>')
    intro = f'<p class="small">{_text(source)}; backbone {_text(backbone)}. Copied from the paper, not measured here.</p>'
    return intro + _scroll("Published figures", _head(["Method", "Set", "Scale", *_COLUMNS.values()]), body)


def _plots(summary: Summary, plots: Sequence[Path], out: Path) -> str:
    about = {metric.name: metric for metric in summary.metrics}
    parts = []
    for path in plots:
        metric = about[path.stem]
        said = _text(f"{metric.label} against scale, a line a method; the figures are in the tables above")
        picture = f'<img src="{_address(path, out)}" alt="{said}" loading="lazy">'
        parts.append(f"<figure>{picture}<figcaption>{_text(metric.about)}</figcaption></figure>")
    return f'<div class="plots">{"".join(parts)}</div>' if parts else ""


def _address(path: Path, out: Path) -> str:
    return _text(quote(path.relative_to(out).as_posix()))


def _tests(summary: Summary) -> str:
    """A closed list a metric: every pair of methods, a column a scale."""
    if not summary.tests:
        return ""
    labels = {method.name: method.label for method in summary.plan.methods}
    parts = [
        '<p class="small">Mean difference first − second on the same pictures, with the larger of both p-values (paired t-test, Wilcoxon '
        "signed-rank) after Holm's correction within the metric. Bold: under 0.05. All figures are in tests.csv.</p>"
    ]
    for metric in summary.metrics:
        tests = [test for test in summary.tests if test.metric == metric.name]
        scales = sorted({test.scale for test in tests})
        pairs: dict[tuple[str, str], dict[float, Test]] = {}
        for test in tests:
            pairs.setdefault((test.a, test.b), {})[test.scale] = test
        rows = [
            f'<tr><th scope="row">{_text(labels[a])} − {_text(labels[b])}</th>'
            + "".join(_test(found.get(scale), metric) for scale in scales)
            + "</tr>"
            for (a, b), found in pairs.items()
        ]
        if rows:
            table = _scroll(f"Tests of {metric.label}", _head(["Pair", *(scale_text(scale) for scale in scales)]), rows)
            parts.append(f"<details><summary>{_text(metric.label)}</summary>{table}</details>")
    return "".join(parts)


def _test(test: Test | None, metric: Metric) -> str:
    if test is None:
        return '<td class="num">–</td>'
    p = max(test.adjusted)
    gap = f"{test.result.difference.mean:+.{metric.digits}f}"
    chance = "p &lt; 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f'<td class="num">{f"<b>{gap}</b>" if p < 0.05 else gap}<span class="pm">{chance}</span></td>'


def _failures(summary: Summary) -> str:
    entries = [(name, "every picture", f"not run here: {why}") for name, why in summary.plan.absent.items()]
    entries += [(score.method, score.image, score.reason) for score in summary.failures()]
    if not entries:
        return '<p class="small">None: every method made every picture, and every figure could be measured.</p>'
    rows = [f'<tr><th scope="row">{_text(a)}</th><td>{_text(b)}</td><td>{_text(c)}</td></tr>' for a, b, c in entries]
    intro = "A failed picture is charged the worst figure: NIQE 100, 0 where more is better. Methods that cannot run here are not scored."
    return f'<p class="small">{intro}</p>' + _scroll("Failures", _columns("Method", "Picture", "Reason"), rows)


def _columns(*names: str) -> str:
    return "".join(f'<th scope="col">{_text(name)}</th>' for name in names)


def _sheets(sheets: Sequence[Path], out: Path) -> str:
    parts = []
    for path in sheets:
        with PILImage.open(path) as image:
            width, height = image.size
        parts.append(
            f'<figure><a href="{_address(path, out)}"><img src="{_address(path, out)}" width="{width}" height="{height}" loading="lazy" '
            f'alt="States of {_text(path.stem)} by every method"></a></figure>'
        )
    return f'<div class="sheets">{"".join(parts)}</div>' if parts else ""


def _how(summary: Summary) -> str:
    plan, data = summary.plan, summary.plan.dataset
    command = f"<pre>{_text(plan.command)}</pre>" if plan.command else ""
    rows = [
        f'<tr><th scope="row">{_text(f"{m.label} {m.arrow}")}</th><td>{_text(m.about)}</td><td>{_text(m.version)}</td>'
        f"<td>{_text(m.licence)}</td></tr>"
        for m in summary.metrics
    ]
    facts = f"Pictures: {data['name']}, read as {data['layout']}, split {data['split']}; states of {plan.size} pixels; seed {plan.seed}."
    links = ", ".join(f'<a href="{name}">{name}</a>' for name in _FILES)
    table = _scroll("Metrics", _columns("Figure", "What it says", "Version", "Licence"), rows)
    return f'{command}<p class="small">{_text(facts)} Files: {links}.</p>{table}'
