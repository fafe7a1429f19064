"""The chain at a glance: labelled states side by side, the next state's place drawn in each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from chainzoom.images import resize, to_uint8
from chainzoom.report.frames import Box, Frame, RunSummary, box_in, check_frames, db_text, kind_text, origin_text, scale_text
from chainzoom.report.lettering import Line, wrapped

Colour = tuple[int, int, int]
THUMB = 360
_GAP, _MARGIN, _HEADER, _LABEL = 28, 40, 116, 132
_SMALL = 16  # a box below this many pixels gets a marker
_FINE = 4  # lines are drawn this much larger and shrunk, so that they are smooth
_GROUND: Colour = (22, 23, 26)
_WELL: Colour = (12, 13, 15)
_TEXT: Colour = (240, 240, 236)
_QUIET: Colour = (160, 163, 168)
_REAL: Colour = (94, 201, 160)
_MADE: Colour = (245, 178, 84)


def columns_for(count: int) -> int:
    """One row up to seven states; more are spread evenly over rows of at most six."""
    return count if count <= 7 else math.ceil(count / math.ceil(count / 6))


def render_strip(frames: Sequence[Frame], summary: RunSummary) -> NDArray[np.uint8]:
    """Draw all states with scale, kind, prompt and consistency: (H, W, 3) uint8 on an opaque dark ground.

    Raises OptionError when there is nothing to draw.
    """
    check_frames(frames)
    columns = columns_for(len(frames))
    rows = math.ceil(len(frames) / columns)
    width = 2 * _MARGIN + max(columns, 2) * THUMB + (max(columns, 2) - 1) * _GAP
    height = _MARGIN + _HEADER + rows * (THUMB + _LABEL) + (rows - 1) * _GAP + _MARGIN // 2
    sheet = PILImage.new("RGB", (width, height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN - 6), f"{summary.source_name} at {scale_text(summary.to)}", 30, _TEXT, width - 2 * _MARGIN)
    _write(
        draw, (_MARGIN, _MARGIN + 38), origin_text(frames), 18, _MADE if any(f.synthesised for f in frames) else _REAL, width - 2 * _MARGIN
    )
    facts = f"{summary.preset} preset, {summary.mode}, {summary.protocol} protocol, seed {summary.seed}, chainzoom {summary.version}"
    _write(draw, (_MARGIN, _MARGIN + 66), facts, 16, _QUIET, width - 2 * _MARGIN)
    for k, frame in enumerate(frames):
        left = _MARGIN + (k % columns) * (THUMB + _GAP)
        top = _MARGIN + _HEADER + (k // columns) * (THUMB + _LABEL + _GAP)
        following = frames[k + 1] if k + 1 < len(frames) else None
        thumb, inner = _thumb(frame)
        if following is not None:
            a, b, c, d = box_in(frame, following)
            w, h = inner[2] - inner[0], inner[3] - inner[1]
            _mark(thumb, (inner[0] + a * w, inner[1] + b * h, inner[0] + c * w, inner[1] + d * h), inner)
        sheet.paste(thumb, (left, top))
        _label(sheet, frame, left, top + THUMB)
    return np.array(sheet, dtype=np.uint8)


def _thumb(frame: Frame) -> tuple[PILImage.Image, Box]:
    """The state fitted into a square, and where in it. Few pixels are shown as squares: smoothing them would invent detail."""
    height, width = frame.image.shape[:2]
    factor = THUMB / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    left, top = (THUMB - size[0]) // 2, (THUMB - size[1]) // 2
    well = PILImage.new("RGB", (THUMB, THUMB), _WELL)
    well.paste(PILImage.fromarray(to_uint8(resize(frame.image, size, "nearest" if factor > 2 else "lanczos"))), (left, top))
    return well, (left, top, left + size[0], top + size[1])


def _mark(thumb: PILImage.Image, box: Box, inner: Box) -> None:
    """Draw the next state's box, light within dark so that it shows on any ground; a tiny one gets a ring around it."""
    x0, y0, x1, y1 = box
    small = max(x1 - x0, y1 - y0) < _SMALL
    for colour, stroke in (((0, 0, 0), 5.0), ((255, 255, 255), 2.2)):
        mask = PILImage.new("L", (THUMB * _FINE, THUMB * _FINE), 0)
        pen = ImageDraw.Draw(mask)
        if small:
            _ring(pen, (x0 + x1) / 2, (y0 + y1) / 2, stroke)
            dot = max((x1 - x0) / 2, (stroke - 0.4) / 2)
            pen.rectangle(_fine((x0 + x1) / 2 - dot, (y0 + y1) / 2 - dot, (x0 + x1) / 2 + dot, (y0 + y1) / 2 + dot), fill=255)
        else:
            # Kept within the picture, or the stroke of a box at the border would be cut in half.
            half = stroke / 2
            edges = [min(max(v, inner[k % 2] + 2.5), inner[2 + k % 2] - 2.5) for k, v in enumerate(box)]
            pen.rounded_rectangle(
                _fine(edges[0] - half, edges[1] - half, edges[2] + half, edges[3] + half),
                3 * _FINE,
                outline=255,
                width=round(stroke * _FINE),
            )
        shrunk = mask.resize(thumb.size, PILImage.Resampling.BOX)
        if stroke > 4:
            shrunk = shrunk.point([round(v * 0.7) for v in range(256)])
        thumb.paste(colour, (0, 0), shrunk)


def _ring(pen: ImageDraw.ImageDraw, x: float, y: float, stroke: float) -> None:
    """A ring with four ticks around a point, moved just enough to be seen at a border."""
    radius, tick = 15.0, 9.0
    pen.ellipse(
        _fine(x - radius - stroke / 2, y - radius - stroke / 2, x + radius + stroke / 2, y + radius + stroke / 2),
        outline=255,
        width=round(stroke * _FINE),
    )
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        pen.line(
            _fine(x + dx * radius, y + dy * radius, x + dx * (radius + tick), y + dy * (radius + tick)),
            fill=255,
            width=round(stroke * _FINE),
        )


def _fine(*values: float) -> list[float]:
    return [value * _FINE for value in values]


def _label(sheet: PILImage.Image, frame: Frame, left: int, top: int) -> None:
    """Scale and kind in the first line, then the prompt (two lines at most) and the consistency."""
    draw = ImageDraw.Draw(sheet)
    colour = _MADE if frame.synthesised else _REAL
    scale = _write(draw, (left, top + 12), scale_text(frame.scale), 26, _TEXT, THUMB)
    dot = PILImage.new("L", (40, 40), 0)
    ImageDraw.Draw(dot).ellipse((0, 0, 39, 39), fill=255)
    sheet.paste(colour, (left + scale + 15, top + 23), dot.resize((10, 10), PILImage.Resampling.BOX))
    _write(draw, (left + scale + 33, top + 17), kind_text(frame), 18, colour, THUMB - scale)
    lines = wrapped(frame.prompt, 17, THUMB, 2)
    for row, line in enumerate(lines):
        _write(draw, (left, top + 50 + 24 * row), line, 17, _TEXT, THUMB)
    if frame.consistency_corrected is not None:
        _write(draw, (left, top + 52 + 24 * len(lines)), f"consistency {db_text(frame.consistency_corrected)}", 16, _QUIET, THUMB)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: Colour, room: float) -> int:
    """Write one line, shortened to ``room`` pixels; gives its width."""
    line = Line.of(text, size).fitted(room)
    draw.text((at[0], at[1] + size), line.text, fill=colour, font=line.font, anchor="ls")
    return math.ceil(line.width)
