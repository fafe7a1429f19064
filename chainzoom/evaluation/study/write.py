"""Results as study.json, study.md and study.svg."""

from __future__ import annotations

import html
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from chainzoom.atomic import output_error, write_bytes
from chainzoom.evaluation.study.agreement import describe
from chainzoom.evaluation.study.comparisons import Interval
from chainzoom.evaluation.study.score import KindResult, MethodScore, StudyResult

SCHEMA = "chainzoom.study.results/1"
_TITLES = {"image": "Pictures", "text": "Words"}
NAMES = ("bad", "poor", "fair", "good", "excellent")
_SHADES = ("#b8443a", "#e0936f", "#c9c6bd", "#7fb2d9", "#2c6fb3")
_WIDTH, _LEFT, _RIGHT, _ROW = 760, 210, 70, 46


def write_results(result: StudyResult, out: Path) -> list[Path]:
    """Write the three files into the folder ``out`` and return their paths. Raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    texts = {
        "study.json": json.dumps({"schema": SCHEMA, **asdict(result)}, ensure_ascii=False, indent=2, allow_nan=False) + "\n",
        "study.md": markdown(result),
        "study.svg": svg(result),
    }
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    return [out / name for name in ("study.md", "study.json", "study.svg")]


def markdown(result: StudyResult) -> str:
    """The results as a page of Markdown that shows study.svg."""
    lines = [f"# {_cell(result.title)}", "", f"Study {result.study}. {_count(len(result.raters), 'rater')} of {result.invited} invited."]
    if result.minutes is not None:
        lines[-1] += f" Median time {result.minutes:.1f} minutes."
    if result.flat:
        lines += ["", f"Gave every item the same score, and count all the same: {', '.join(result.flat)}."]
    lines += ["", "![Scores](study.svg)"]
    for kind in result.kinds:
        lines += ["", f"## {_TITLES[kind.kind]}: {_count(kind.sets, 'set')}", "", *_methods(kind), "", *_pairs(kind), "", _agreement(kind)]
    if result.refused:
        kinds = Counter(one.kind for one in result.refused)
        lines += [
            "",
            f"## Refused: {_count(len(result.refused), 'file')} ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))})",
            "",
        ]
        lines += [f"- `{one.file}`: {one.kind}, {_cell(one.reason)}" for one in result.refused]
    lines += [
        "",
        "Scores run from 1 (bad) to 5 (excellent). A rater's scores of a method are averaged over the sets first; means, 95 % intervals",
        "(Student's t) and paired tests are over these averages, p-values after Holm's correction within a table. They speak for other",
        "raters of the same scenes, not for other scenes.",
        "",
    ]
    return "\n".join(lines)


def _methods(kind: KindResult) -> list[str]:
    rows = ["| method | mean | 95 % interval | 1 | 2 | 3 | 4 | 5 |", "|---|---|---|---|---|---|---|---|"]
    for one in kind.methods:
        rows.append(f"| {_cell(one.method)} | {one.mean.mean:.2f} | {_range(one.mean)} | {' | '.join(str(n) for n in one.counts)} |")
    return rows


def _pairs(kind: KindResult) -> list[str]:
    if not kind.comparisons:
        return ["Tests need two raters or more, and two methods in one set."]
    rows = ["| pair | difference | 95 % interval | effect d | t-test p | Wilcoxon p | |", "|---|---|---|---|---|---|---|"]
    for one in kind.comparisons:
        both = max(one.holm_t, one.holm_wilcoxon)
        said = "differ" if both < 0.05 else "tests disagree" if min(one.holm_t, one.holm_wilcoxon) < 0.05 else "no difference shown"
        effect = "–" if one.effect is None else f"{one.effect:.2f}"
        rows.append(
            f"| {_cell(one.a)} − {_cell(one.b)} | {one.difference.mean:+.2f} | {_range(one.difference, '+')} | {effect} | "
            f"{_p(one.holm_t)} | {_p(one.holm_wilcoxon)} | {said} |"
        )
    return rows


def _agreement(kind: KindResult) -> str:
    if kind.alpha is None:
        return "Agreement between raters cannot be computed: it needs two raters and scores that vary."
    text = f"Agreement between raters: Krippendorff's alpha (ordinal) {kind.alpha:.2f}, {describe(kind.alpha)}"
    return text + (f"; {kind.alpha_within:.2f} apart from mild and strict raters (interval)." if kind.alpha_within is not None else ".")


def svg(result: StudyResult) -> str:
    """Means with intervals above the shares of each score, a row a method; follows light and dark."""
    parts: list[str] = []
    y = 24
    for kind in result.kinds:
        parts.append(f'<text class="head" x="16" y="{y + 14}">{_TITLES[kind.kind]}</text>')
        y += 36
        height = _ROW * len(kind.methods)
        for value in range(1, 6):
            parts.append(f'<line class="grid" x1="{_x(value):.1f}" x2="{_x(value):.1f}" y1="{y}" y2="{y + height}"/>')
            parts.append(f'<text class="quiet" x="{_x(value):.1f}" y="{y + height + 18}" text-anchor="middle">{value}</text>')
        for one in kind.methods:
            parts += _row(one, y)
            y += _ROW
        y += 44
    for value, (shade, name) in enumerate(zip(_SHADES, NAMES, strict=True)):
        left = _LEFT + value * 100
        parts.append(f'<rect x="{left}" y="{y}" width="12" height="12" rx="2" fill="{shade}"/>')
        parts.append(f'<text class="quiet" x="{left + 18}" y="{y + 11}">{value + 1} {name}</text>')
    y += 32
    said = "; ".join(f"{_TITLES[k.kind]}, {m.method}: {m.mean.mean:.2f}" for k in result.kinds for m in k.methods)
    style = (
        "svg{background:#fff;font:14px system-ui,sans-serif}text{fill:#1c1d20}"
        ".quiet{fill:#63656b;font-size:13px}.head{font-weight:650;font-size:17px}"
        ".grid{stroke:#e2e0da}.mean,.bar{fill:#1c1d20;stroke:#1c1d20}.bar{stroke-width:2.5}"
        "@media(prefers-color-scheme:dark){svg{background:#131417}text{fill:#eeede9}.quiet{fill:#a2a5ab}.grid{stroke:#303238}"
        ".mean,.bar{fill:#eeede9;stroke:#eeede9}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" role="img" '
        f'aria-label="{_text("Mean scores. " + said)}"><style>{style}</style>{"".join(parts)}</svg>\n'
    )


def _row(one: MethodScore, y: int) -> list[str]:
    name = one.method if len(one.method) <= 26 else one.method[:25] + "…"
    parts = [f'<text x="{_LEFT - 24}" y="{y + 20}" text-anchor="end">{_text(name)}<title>{_text(one.method)}</title></text>']
    total, start = sum(one.counts), 1.0
    for value, count in enumerate(one.counts):
        width = 4 * count / total
        if count:
            label = f"<title>{count} of {total} scores: {value + 1}</title>"
            shape = f'x="{_x(start):.1f}" y="{y + 28}" width="{_x(start + width) - _x(start):.1f}" height="6" fill="{_SHADES[value]}"'
            parts.append(f"<rect {shape}>{label}</rect>")
        start += width
    mean, middle = one.mean, y + 15
    if mean.low is not None and mean.high is not None:
        low, high = max(1.0, mean.low), min(5.0, mean.high)
        parts.append(f'<line class="bar" x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="mean" cx="{_x(mean.mean):.1f}" cy="{middle}" r="5"/>')
    parts.append(f'<text x="{_WIDTH - _RIGHT + 20}" y="{y + 20}">{mean.mean:.2f}</text>')
    return parts


def _x(score: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (score - 1) / 4


def _range(one: Interval, sign: str = "") -> str:
    return "–" if one.low is None or one.high is None else f"{one.low:{sign}.2f} to {one.high:{sign}.2f}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _text(value: str) -> str:
    return html.escape(value, quote=True)
