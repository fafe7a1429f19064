"""The picture of an agreement: a sample, and beside it in colour where the samples agree and where they do not, with a legend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from chainzoom.evaluation.metrics.agreement import lab
from chainzoom.evaluation.samples import Agreement
from chainzoom.images import Image, from_uint, resize, to_uint8
from chainzoom.report.lettering import Line, wrapped

_GROUND, _INK, _QUIET = (24, 25, 28), (238, 237, 233), (162, 165, 171)
_MARGIN, _GAP, _LEAST = 24, 16, 400
_SIZE = 17
# A curve through OKLab (Ottosson 2020) at even speed is perceptually uniform: blue, green, yellow, never grey, and always lighter.
_BLUE, _BEND, _YELLOW = np.array([0.34, -0.02, -0.13]), np.array([0.62, -0.12, 0.02]), np.array([0.9, -0.02, 0.15])
_OKLAB_TO_LMS = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def colours(values: NDArray[np.float32]) -> Image:
    """(...) in [0, 1] as colours (..., 3): 0 dark blue (agree), 1 light yellow (differ)."""
    places, curve = np.linspace(0, 1, 257), _curve()
    oklab = np.stack([np.interp(values, places, curve[:, k]) for k in range(3)], axis=-1)
    linear = np.clip(((oklab @ _OKLAB_TO_LMS.T) ** 3) @ _LMS_TO_RGB.T, 0, 1)
    return np.asarray(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055), dtype=np.float32)


def _curve() -> NDArray[np.float64]:
    """257 points of the quadratic Bezier curve, equally far from each other."""
    t = np.linspace(0, 1, 4001)[:, None]
    dense = (1 - t) ** 2 * _BLUE + 2 * t * (1 - t) * _BEND + t**2 * _YELLOW
    length = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))))
    return np.stack([np.interp(np.linspace(0, length[-1], 257), length, dense[:, k]) for k in range(3)], axis=-1)


def draw_agreement(sample: Image, found: Agreement, said: str, count: int) -> Image:
    """``sample`` (H, W, 3) on the left, the map on the right, ``said`` and the legend below; (H', W', 3) in [0, 1]."""
    height, width = sample.shape[:2]
    zoom = max(1, -(-_LEAST // max(width, 1)))
    size = (width * zoom, height * zoom)
    panels = [resize(panel, size, "nearest") for panel in (sample, _overlay(sample, found))]
    total = 2 * _MARGIN + 2 * size[0] + _GAP
    text_top = _MARGIN + size[1] + _GAP
    lines = wrapped(said, _SIZE + 3, total - 2 * _MARGIN, 2)
    canvas = PILImage.new("RGB", (total, text_top + 30 * len(lines) + 78 + _MARGIN), _GROUND)
    for k, panel in enumerate(panels):
        canvas.paste(PILImage.fromarray(to_uint8(panel)), (_MARGIN + k * (size[0] + _GAP), _MARGIN))
    draw = ImageDraw.Draw(canvas)
    for k, line in enumerate(lines):
        _write(draw, (_MARGIN, text_top + 30 * k), line, _SIZE + 3, _INK)
    _legend(canvas, draw, text_top + 30 * len(lines) + 10, count)
    return from_uint(np.asarray(canvas))


def _legend(canvas: PILImage.Image, draw: ImageDraw.ImageDraw, top: int, count: int) -> None:
    width = canvas.width - 2 * _MARGIN
    ramp = colours(np.linspace(0, 1, width, dtype=np.float32)[None].repeat(16, 0))
    canvas.paste(PILImage.fromarray(to_uint8(ramp)), (_MARGIN, top))
    left, right = "0 %: the same in all seeds, evidence", "100 %: differs, invention"
    room = width / 2 - _GAP / 2
    _write(draw, (_MARGIN, top + 24), left, _SIZE, _INK, room)
    end = Line.of(right, _SIZE).fitted(room)
    draw.text((_MARGIN + width - end.width, top + 24), end.text, fill=_INK, font=end.font)
    note = (
        f"Share of the detail that differs between {count} seeds; grey: no visible detail. Agreement shows a sure model, not a right one."
    )
    _write(draw, (_MARGIN, top + 50), note, _SIZE - 2, _QUIET, width)


def _overlay(sample: Image, found: Agreement) -> Image:
    """The colours where there is detail to judge, with the picture's own light and dark showing through; elsewhere its grey."""
    light = (lab(sample)[..., :1] / 100).astype(np.float32)
    tinted = colours(found.local) * (np.float32(0.72) + np.float32(0.4) * light)
    weight = found.visible[..., None]
    return np.clip(weight * tinted + (1 - weight) * (np.float32(0.15) + np.float32(0.5) * light), 0, 1).astype(np.float32)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, fill: tuple[int, int, int], room: float | None = None
) -> None:
    line = Line.of(text, size)
    line = line if room is None else line.fitted(room)
    draw.text(at, line.text, fill=fill, font=line.font)
