"""A film from one view to another, painted from the planes, so that it shows what the viewer shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chainzoom.errors import OptionError
from chainzoom.report.film import render_film
from chainzoom.report.frames import Box, Frame
from chainzoom.viewer.specs import ViewSpec
from chainzoom.viewer.studio import Studio

SIDE = 640
_STEP = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """A square view: its middle and its side in photo pixels."""

    x: float
    y: float
    side: float

    def box(self) -> Box:
        """(x0, y0, x1, y1)."""
        half = self.side / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


def regions(start: Place, end: Place, width: int, height: int, deepest: float) -> list[Box]:
    """Nested regions inside the photo from ``start`` to ``end``, each about a quarter of the one before.

    A start that does not hold the end is widened until it does. Raises OptionError when the end is no zoom into the start.
    """
    least = SIDE / deepest
    end = Place(end.x, end.y, max(end.side, least))
    a, b, c, d = end.box()
    reach = max(start.side, 2 * max(start.x - a, c - start.x, start.y - b, d - start.y))
    if reach < 1.1 * end.side:
        raise OptionError("a film zooms in: its end should be deeper than its start; got two views of the same size")
    x0, y0 = Place(start.x, start.y, reach).box()[:2]
    count = max(1, math.ceil(math.log(reach / end.side) / math.log(_STEP) - 1e-6))
    found: list[Box] = []
    for k in range(count + 1):
        side = reach * (end.side / reach) ** (k / count)
        along = (reach - side) / (reach - end.side)
        left, top = x0 + (a - x0) * along, y0 + (b - y0) * along
        box = (max(0.0, left), max(0.0, top), min(float(width), left + side), min(float(height), top + side))
        if box[2] - box[0] <= 0 or box[3] - box[1] <= 0:
            raise OptionError("a film's views should show some of the photo")
        found.append(box)
    return found


def make_film(
    studio: Studio, spec: ViewSpec, start: Place, end: Place, path: Path, deepest: float, progress: Callable[[int, int, str], None]
) -> None:
    """Write the film as MP4. ``progress(done, total, what)``. Raises OptionError and what planes and films raise."""
    planes = studio.planes(spec)
    boxes = regions(start, end, planes.source.width, planes.source.height, deepest)
    frames: list[Frame] = []
    bounds: Box | None = None
    for number, box in enumerate(boxes):
        progress(number, len(boxes), "painting")
        scale = SIDE / max(box[2] - box[0], box[3] - box[1])
        limit = planes.size_at(scale)
        x0, y0 = math.floor(box[0] * scale + 1e-6), math.floor(box[1] * scale + 1e-6)
        whole = (x0, y0, min(limit[0], max(x0 + 2, round(box[2] * scale))), min(limit[1], max(y0 + 2, round(box[3] * scale))))
        studio.prepare(planes, scale, whole)
        image = planes.read_at(scale, whole)
        region = _inside((whole[0] / scale, whole[1] / scale, whole[2] / scale, whole[3] / scale), bounds)
        bounds = region
        frames.append(Frame(number, image, scale, region, scale > 1, backbone=planes.chain.backbone.facts.name, seed=spec.seed))
    render_film(frames, path, size=SIDE, progress=lambda done, total: progress(done, total, "filming"))


def _inside(box: Box, bounds: Box | None) -> Box:
    """Whole pixels may stick out of the region before by a fraction of one."""
    if bounds is None:
        return box
    return max(box[0], bounds[0]), max(box[1], bounds[1]), min(box[2], bounds[2]), min(box[3], bounds[3])
