"""The report: one HTML file that opens from disk, carries its pictures, asks no server for anything and runs no script."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import re
from collections.abc import Callable, Sequence
from importlib import resources
from string import Template
from urllib.parse import quote

from PIL import Image as PILImage

from chainzoom.images import resize, to_uint8
from chainzoom.report.chart import consistency_chart
from chainzoom.report.frames import Frame, RunSummary, box_in, check_frames, db_text, kind_text, origin_text, scale_text, shares_text

_LONGEST = 1024  # embedded pictures are no larger; the files beside the page are whole
_MOST_TAGS = 8
_CAUTION = "What is synthesised is a plausible picture, not a record of what was there: read nothing from it that the photo does not hold."

Xmp = Callable[[Frame], bytes]


def render_page(frames: Sequence[Frame], summary: RunSummary, *, film: str | None, command: str, xmp: Xmp | None = None) -> str:
    """The report as HTML. ``film`` is the video's address relative to the page, or a ``data:`` URI; None: no video was made.

    ``xmp`` gives the provenance packet that every embedded picture carries. Every text is escaped. Raises OptionError without states.
    """
    check_frames(frames)
    template = resources.files("chainzoom.report").joinpath("page.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", template, re.DOTALL)
    assert style is not None
    made = any(frame.synthesised for frame in frames)
    dimensions = f"{summary.width} × {summary.height} pixels"
    return Template(template).substitute(
        style_hash=base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode(),
        title=_text(f"{summary.source_name} at {scale_text(summary.to)} – chainzoom"),
        source=_text(summary.source_name),
        to=scale_text(summary.to),
        lead=_text(f"{len(frames)} {'state' if len(frames) == 1 else 'states'} of a photo of {dimensions}"),
        kind="made" if made else "real",
        origin=_text(origin_text(frames)),
        caution=_text(_CAUTION if made else ""),
        chain="".join(f'<li class="{_kind(f)}"><a href="#state-{f.index}">{scale_text(f.scale)}</a></li>' for f in frames),
        film=_film(film, summary, frames),
        states="\n".join(_state(frame, following, xmp) for frame, following in zip(frames, [*frames[1:], None], strict=True)),
        consistency=_consistency(frames),
        timings=_timings(frames),
        weights=_weights(summary),
        command=_text(command),
        dimensions=dimensions,
        sha256=_text(summary.source_sha256),
        seed=summary.seed,
        version=_text(summary.version),
    )


def _text(value: str) -> str:
    """Escaped for element content and for attributes in double quotes."""
    return html.escape(value, quote=True)


def _address(value: str) -> str:
    """A relative address, percent-encoded so that it cannot name another scheme; video data passes through."""
    return _text(value if value.startswith("data:video/") else quote(value))


def _kind(frame: Frame) -> str:
    return "made" if frame.synthesised else "real"


def _section(name: str, heading: str, body: str) -> str:
    return f'<section aria-labelledby="h-{name}">\n<h2 id="h-{name}">{heading}</h2>\n{body}\n</section>'


def _film(film: str | None, summary: RunSummary, frames: Sequence[Frame]) -> str:
    x, y = summary.at
    rows = [
        ("Photo", f"{summary.width} × {summary.height} pixels"),
        ("Point", f"{x:g}, {y:g}"),
        ("Preset", summary.preset),
        ("Mode", summary.mode),
        ("Protocol", summary.protocol),
        ("Seed", str(summary.seed)),
    ]
    rows += [("Made by", ", ".join(dict.fromkeys(f.backbone for f in frames if f.backbone)))] if any(f.backbone for f in frames) else []
    rows += [("Note", note) for note in summary.notes]
    facts = "<dl>" + "".join(f"<dt>{label}</dt><dd>{_text(value)}</dd>" for label, value in rows) + "</dl>"
    if film is None:
        return _section("run", "The run", f'<div class="film alone">{facts}</div>')
    label = _text(f"Continuous zoom into {summary.source_name}, from the whole photo to {scale_text(summary.to)}; no sound")
    video = (
        f'<video src="{_address(film)}" controls loop muted playsinline preload="auto" width="512" height="512" aria-label="{label}">'
        f'<a href="{_address(film)}">Watch the film</a></video>'
    )
    link = "" if film.startswith("data:") else f'<p class="small"><a href="{_address(film)}">Open the film by itself</a></p>'
    return _section("film", "The zoom", f'<div class="film"><div>{video}{link}</div>{facts}</div>')


def _state(frame: Frame, following: Frame | None, xmp: Xmp | None) -> str:
    height, width = frame.image.shape[:2]
    parts = [
        f'<div class="top"><h3>{scale_text(frame.scale)}</h3><span class="pill {_kind(frame)}">{kind_text(frame)}</span></div>',
    ]
    if frame.prompt:
        parts.append(f'<p class="prompt">{_text(frame.prompt)}</p>')
    if frame.prompt_source and frame.prompt_source != "null":
        parts.append(f'<p class="small">Prompt from {_text(frame.prompt_source)}</p>')
    if frame.tags:
        parts.append('<ul class="tags">' + "".join(_tag(word, value) for word, value in frame.tags[:_MOST_TAGS]) + "</ul>")
    if frame.notes:
        parts.append('<ul class="notes">' + "".join(f"<li>{_text(note)}</li>" for note in frame.notes) + "</ul>")
    if frame.consistency_raw is not None or frame.consistency_corrected is not None:
        figures = f"{db_text(frame.consistency_raw)} → {db_text(frame.consistency_corrected)}"
        parts.append(f'<p class="small">Consistency {figures}</p>')
    made_by = f"; {_text(frame.backbone)}, seed {frame.seed}" if frame.backbone and frame.synthesised else ""
    if frame.shares:
        parts.append(f'<p class="small">Made by {_text(shares_text(frame.shares))}: {_text(frame.why)}</p>')
    parts.append(f'<p class="small">Source pixels {region_text(frame)}{made_by}</p>')
    if frame.file:
        parts.append(f'<p class="small"><a href="{_address(frame.file)}">{_text(frame.file)}</a>, {width} × {height}</p>')
    alt = f"State {frame.index} at {scale_text(frame.scale)}, {kind_text(frame)}" + (f": {frame.prompt}" if frame.prompt else "")
    few = ' class="few"' if max(width, height) < 200 else ""
    tall = " tall" if height > width else ""
    picture = f'<img{few} src="{_data_uri(frame, xmp)}" width="{width}" height="{height}" alt="{_text(alt)}">'
    return (
        f'<li class="card" id="state-{frame.index}"><div class="shot"><div class="frame{tall}">{picture}'
        f'{_overlay(frame, following)}</div></div><div class="text">{"".join(parts)}</div></li>'
    )


def _tag(word: str, value: float) -> str:
    share = min(max(100 * value, 0.0), 100.0)
    bar = f'<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width="{share:.1f}" height="6"/></svg>'
    return f'<li><span>{_text(word)}</span>{bar}<span class="value">{share:.0f} %</span></li>'


def _overlay(frame: Frame, following: Frame | None) -> str:
    """The next state's box, a link to it; a box too small to see gets a ring."""
    if following is None:
        return ""
    height, width = frame.image.shape[:2]
    unit = max(width, height) / 100
    w, h = width / unit, height / unit
    x0, y0, x1, y1 = (v * s for v, s in zip(box_in(frame, following), (w, h, w, h), strict=True))
    if max(x1 - x0, y1 - y0) < 4:
        shape = f'<circle class="%s" cx="{(x0 + x1) / 2:.3f}" cy="{(y0 + y1) / 2:.3f}" r="4.5"/>'
        shape += f'<circle class="%s" cx="{(x0 + x1) / 2:.3f}" cy="{(y0 + y1) / 2:.3f}" r="0.4"/>'
    else:
        edge = 0.6  # keeps a stroke at the border inside the picture
        x0, y0, x1, y1 = max(x0, edge), max(y0, edge), min(x1, w - edge), min(y1, h - edge)
        shape = f'<rect class="%s" x="{x0:.3f}" y="{y0:.3f}" width="{x1 - x0:.3f}" height="{y1 - y0:.3f}" rx="0.6"/>'
    label = f"To the next state, {scale_text(following.scale)}"
    return (
        f'<svg viewBox="0 0 {w:.3f} {h:.3f}"><a href="#state-{following.index}" aria-label="{label}"><title>{label}</title>'
        f"{shape.replace('%s', 'dark')}{shape.replace('%s', 'light')}</a></svg>"
    )


def region_text(frame: Frame) -> str:
    """``x 386–898, y 72–584``, with as many decimals as the region's size asks for."""
    x0, y0, x1, y1 = frame.region
    decimals = min(max(2 - math.floor(math.log10(max(x1 - x0, y1 - y0))), 0), 9)
    return f"x {x0:.{decimals}f}–{x1:.{decimals}f}, y {y0:.{decimals}f}–{y1:.{decimals}f}"


def _data_uri(frame: Frame, xmp: Xmp | None) -> str:
    height, width = frame.image.shape[:2]
    image = frame.image
    if max(width, height) > _LONGEST:
        shrink = _LONGEST / max(width, height)
        image = resize(image, (max(round(width * shrink), 1), max(round(height * shrink), 1)), "lanczos")
    packet = {"xmp": xmp(frame)} if xmp is not None else {}
    buffer = io.BytesIO()
    small = max(width, height) < 200
    PILImage.fromarray(to_uint8(image)).save(buffer, "WEBP", quality=90, lossless=small, method=4, **packet)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _consistency(frames: Sequence[Frame]) -> str:
    measured = [f for f in frames if f.consistency_raw is not None or f.consistency_corrected is not None]
    if not measured:
        return ""
    intro = "<p>How well each state, shrunk back, matches what it zoomed into (PSNR in dB; higher is closer)."
    intro += " Raw is what the backbone made; corrected is what was kept.</p>"
    rows = "".join(
        f'<tr><th scope="row">{scale_text(f.scale)}</th><td class="num">{db_text(f.consistency_raw)}</td>'
        f'<td class="num">{db_text(f.consistency_corrected)}</td></tr>'
        for f in measured
    )
    head = '<tr><th scope="col">State</th><th scope="col" class="num">Raw</th><th scope="col" class="num">Corrected</th></tr>'
    table = _table("Consistency", head, rows)
    return _section(
        "consistency", "Consistency", f'{intro}<div class="pair"><div class="chart">{consistency_chart(measured)}</div>{table}</div>'
    )


def _table(label: str, head: str, rows: str, foot: str = "", shape: str = "scroll narrow") -> str:
    return (
        f'<div class="{shape}" tabindex="0" role="region" aria-label="{label}"><table><thead>{head}</thead><tbody>{rows}</tbody>'
        f"{f'<tfoot>{foot}</tfoot>' if foot else ''}</table></div>"
    )


def _timings(frames: Sequence[Frame]) -> str:
    keys = sorted(dict.fromkeys(key for f in frames for key in f.seconds), key=lambda key: key == "total")
    if not keys:
        return ""

    def row(name: str, cells: list[float | None]) -> str:
        figures = "".join(f'<td class="num">{"–" if cell is None else f"{cell:.2f} s"}</td>' for cell in cells)
        return f'<tr><th scope="row">{name}</th>{figures}</tr>'

    head = '<tr><th scope="col">State</th>' + "".join(f'<th scope="col" class="num">{_text(key)}</th>' for key in keys) + "</tr>"
    rows = "".join(row(scale_text(f.scale), [f.seconds.get(key) for key in keys]) for f in frames)
    sums = row("All", [sum(f.seconds.get(key, 0.0) for f in frames) for key in keys])
    return _section("timings", "Timings", _table("Timings", head, rows, sums))


def _weights(summary: RunSummary) -> str:
    if not summary.weights:
        return _section("weights", "Weights", "<p>No trained weights took part.</p>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Name", "Revision", "Licence", "SHA-256"))
    rows = "".join(
        f'<tr><th scope="row">{_text(w.name)}</th><td>{_text(w.revision)}</td><td>{_text(w.licence)}</td>'
        f'<td><code class="hash">{_text(w.sha256)}</code></td></tr>'
        for w in summary.weights
    )
    return _section("weights", "Weights", _table("Weights", f"<tr>{head}</tr>", rows, shape="scroll"))
