"""Consistency over the chain as a small SVG chart that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainzoom.report.frames import Frame, db_text, scale_text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 250, 54, 84, 22, 36


def consistency_chart(frames: Sequence[Frame]) -> str:
    """Raw and corrected PSNR against scale, as an ``<svg>``; exact matches are drawn at the top edge, missing figures left out."""
    lines = {"corrected": [f.consistency_corrected for f in frames], "raw": [f.consistency_raw for f in frames]}
    finite = [v for values in lines.values() for v in values if v is not None and math.isfinite(v)] or [40.0]
    low, high = math.floor((min(finite) - 2) / 10) * 10, math.ceil((max(finite) + 2) / 10) * 10

    def x(k: int) -> float:
        room = _WIDTH - _LEFT - _RIGHT
        return _LEFT + room * ((k + 0.5) / len(frames))

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - min(value, high)) / (high - low)

    step = 10 if high - low <= 60 else 20
    parts = []
    for level in range(low, high + 1, step):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{level}{" dB" if level == high else ""}</text>')
    for k, frame in enumerate(frames):
        parts.append(f'<text x="{x(k):.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{scale_text(frame.scale)}</text>')
    ends: list[float] = []
    for name, values in lines.items():
        points = [(x(k), y(v)) for k, v in enumerate(values) if v is not None and not math.isnan(v)]
        if not points:
            continue
        if len(points) > 1:
            parts.append(f'<polyline class="{name}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        parts += [f'<circle class="{name}" cx="{a:.1f}" cy="{b:.1f}" r="4.5"/>' for a, b in points]
        # The two names would overprint each other where the lines end together.
        label = points[-1][1] + 4
        label += 16 if any(abs(label - other) < 14 for other in ends) else 0
        ends.append(label)
        parts.append(f'<text class="{name}" x="{points[-1][0] + 12:.1f}" y="{label:.1f}">{name}</text>')
    said = "; ".join(
        f"{scale_text(f.scale)}: {db_text(f.consistency_raw)} raw, {db_text(f.consistency_corrected)} corrected" for f in frames
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Consistency by scale. {said}">{"".join(parts)}</svg>'
