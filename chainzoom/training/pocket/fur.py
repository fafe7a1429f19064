"""Fur, drawn: registries carry hardly any photographs of it, and what there is is small and block-compressed.

Hairs are short curved strokes from dark root to light tip along a slowly turning direction, painted over one another. Stated as drawn
wherever sources are named; ours, CC0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

SOURCE, LICENCE = "drawn by chainzoom", "CC0-1.0"
_SIDE, _FINE = 512, 2


@dataclass(frozen=True, slots=True)
class Coat:
    """How a coat looks: ``length`` and ``width`` of hairs in pixels, ``turn`` of the coat's direction and ``curl`` of a hair in radians."""

    name: str
    caption: str
    colour: tuple[int, int, int]
    length: float
    width: float
    turn: float
    curl: float
    spread: float = 0.15
    marks: float = 0.0


COATS = (
    Coat("tabby", "cat fur, tabby, short hair", (176, 132, 88), 26, 1.0, 0.5, 0.10, marks=0.35),
    Coat("ginger", "ginger cat fur, soft hair", (205, 140, 80), 34, 1.0, 0.7, 0.15),
    Coat("grey", "grey cat fur, dense short hair", (128, 128, 132), 18, 0.9, 0.4, 0.08),
    Coat("dog", "dog fur, brown hair", (130, 92, 62), 44, 1.4, 0.8, 0.25),
    Coat("white", "white fur, long soft hair", (222, 216, 206), 60, 1.1, 1.0, 0.3),
    Coat("black", "black animal fur, glossy hair", (58, 54, 54), 40, 1.2, 0.6, 0.15, spread=0.35),
    Coat("bear", "brown bear fur, thick coarse hair", (104, 74, 48), 50, 1.8, 1.0, 0.4, spread=0.25),
    Coat("wool", "sheep wool, curly hair", (206, 196, 178), 30, 1.3, 2.5, 1.2),
    Coat("fox", "fox fur, animal coat", (190, 104, 52), 52, 1.2, 0.8, 0.2, marks=0.2),
    Coat("deer", "deer fur, short brown hair", (158, 118, 82), 16, 1.0, 0.3, 0.06, spread=0.2),
)


def draw(coat: Coat) -> NDArray[np.uint8]:
    """(512, 512, 3) of a coat; the same every time."""
    rng = np.random.default_rng(int.from_bytes(coat.name.encode()[:4].ljust(4, b" "), "big"))
    side = _SIDE * _FINE
    length, width = coat.length * _FINE, coat.width * _FINE
    directions = rng.uniform(0, 2 * np.pi) + coat.turn * _slow(rng, side, 160 * _FINE)
    marks = 1 - coat.marks * (_slow(rng, side, 60 * _FINE) > 0.4)
    tufts = 1 + 0.25 * _slow(rng, side, 14 * _FINE)
    canvas = PILImage.new("RGB", (side, side), tuple(int(value * 0.35) for value in coat.colour))
    pen = ImageDraw.Draw(canvas)
    count = int(7 * side * side / (length * width))
    steps = 5
    for x, y, light, bend in zip(*(rng.uniform(-0.05 * side, 1.05 * side, count) for _ in "xy"), rng.normal(1, coat.spread, count),
                                 rng.normal(0, coat.curl, count), strict=True):  # fmt: skip
        row, column = int(np.clip(y, 0, side - 1)), int(np.clip(x, 0, side - 1))
        angle = float(directions[row, column]) + 0.15 * bend
        shade = float(light * marks[row, column] * tufts[row, column])
        for step in range(steps):
            angle += bend / steps
            to = (x + np.cos(angle) * length / steps, y + np.sin(angle) * length / steps)
            tone = shade * (0.6 + 0.55 * step / steps)
            thin = max(1, round(width * (1.2 - 0.8 * step / steps)))
            pen.line([(x, y), to], fill=tuple(int(min(255, max(0, value * tone))) for value in coat.colour), width=thin)
            x, y = to
    return np.asarray(canvas.resize((_SIDE, _SIDE), PILImage.Resampling.LANCZOS))


def _slow(rng: np.random.Generator, side: int, size: float) -> NDArray[np.float64]:
    """(side, side) of smooth noise with patches of about ``size`` pixels; mean 0, spread 1."""
    cells = max(3, round(side / size) + 2)
    small = PILImage.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    plane = np.asarray(small.resize((side, side), PILImage.Resampling.BICUBIC), np.float64)
    return np.asarray((plane - plane.mean()) / plane.std())
