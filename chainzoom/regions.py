"""Where every state lies in the photo: regions, the ladder of scales, and the plan of a whole zoom.

Coordinates: ``source`` pixels count from the photo's top-left corner (0, 0) to (width, height); ``parent`` pixels count inside the previous
state. Scale is output pixels per source pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

from chainzoom.errors import OptionError

Kind = Literal["photo", "synthesised"]
STEP_FACTOR = 4.0
MAX_SCALE = 4.0**16


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in source pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in source pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in source pixels."""
        return self.y1 - self.y0

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies inside or on the border."""
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1

    def within(self, other: Region) -> bool:
        """Whether no part lies outside ``other``."""
        return other.x0 <= self.x0 and other.y0 <= self.y0 and self.x1 <= other.x1 and self.y1 <= other.y1

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return (self.x0, self.y0, self.x1, self.y1)


@dataclass(frozen=True, slots=True)
class Move:
    """From a parent state into a part of it.

    factor  the zoom of this step
    crop    integer box (x0, y0, x1, y1) in parent pixels that covers the child: what a backbone is given
    box     the child's exact box inside the crop, in crop pixels; equal to the whole crop when the grids agree
    """

    factor: float
    crop: tuple[int, int, int, int]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Planned:
    """One state before its pixels exist.

    shape is (width, height) in pixels; ``move`` is None for states read from the photo.
    """

    index: int
    scale: float
    region: Region
    shape: tuple[int, int]
    kind: Kind
    move: Move | None


def native_ladder(fit: float, to: float, factors: Sequence[float] = (STEP_FACTOR,)) -> list[float]:
    """Scales of the states: the whole photo at ``fit`` (<= 1), real pixels down to 1x, then 4x, 16x, ... and exactly ``to``.

    Real states are spaced evenly with factors of at most 4. A last factor under 2 is shared with the step before it, so that no step
    is nearly nothing.
    """
    real = max(0, math.ceil(math.log(1 / fit, STEP_FACTOR) - 1e-9))
    scales = [fit * (1 / fit) ** (k / real) for k in range(real)] if real else []
    return [*scales, *synthetic_ladder(to, factors)]


def synthetic_ladder(to: float, factors: Sequence[float] = (STEP_FACTOR,)) -> list[float]:
    """1, 4, 16, ... up to and exactly ``to``; see native_ladder for the last step. ``factors`` are taken in turn."""
    scales, turn = [1.0], cycle(factors)
    factor = next(turn)
    while scales[-1] * factor < to * (1 - 1e-9):
        scales.append(scales[-1] * factor)
        factor = next(turn)
    if len(scales) > 1 and to / scales[-1] < math.sqrt(factor) * (1 - 1e-9):
        scales[-1] = math.sqrt(scales[-2] * to)
    return [*scales, float(to)]


def step_factors(text: str) -> tuple[float, ...]:
    """The zoom of the synthesised steps, taken in turn, from ``4`` or ``4,2``; ``auto`` is 4 (docs/adaptive.md). Raises OptionError."""
    if text == "auto":
        return (STEP_FACTOR,)
    try:
        factors = tuple(float(part) for part in text.split(","))
    except ValueError:
        factors = ()
    if not factors or not all(1.1 <= factor <= STEP_FACTOR for factor in factors):
        raise OptionError(f"--step takes factors from 1.1 to {STEP_FACTOR:g} joined by commas, e.g. 4 or 4,2, or auto; got {text}")
    return factors


def check_size(size: int) -> None:
    """Raise OptionError when a state of this size makes no sense."""
    if not 64 <= size <= 4096:
        raise OptionError(f"--size takes 64 to 4096 pixels; got {size}")


def check_target(at: tuple[float, float], to: float) -> None:
    """Raise OptionError when the point or the scale makes no sense."""
    if not all(math.isfinite(v) and 0 <= v <= 1 for v in at):
        raise OptionError(f"--at takes two fractions of the photo between 0 and 1, e.g. 0.5,0.5; got {at[0]:g},{at[1]:g}")
    if not math.isfinite(to) or not 1 < to <= MAX_SCALE:
        raise OptionError(f"--to takes a scale above 1 and at most {MAX_SCALE:.0f}, e.g. 256; got {to:g}")


def plan_native(
    width: int, height: int, at: tuple[float, float], to: float, size: int = 512, factors: Sequence[float] = (STEP_FACTOR,)
) -> tuple[Planned, ...]:
    """Plan a zoom that shows the photo's own pixels as long as there are any and synthesises from 1x on.

    State 0 shows the whole photo, shrunk to fit ``size`` x ``size`` (never enlarged); later states are ``size`` pixels square as soon as
    the photo is large enough at their scale. The point stays inside every state and at its centre unless the photo's border is near.
    """
    check_target(at, to)
    check_size(size)
    point = (at[0] * width, at[1] * height)
    fit = min(1.0, size / max(width, height))
    states: list[Planned] = []
    for index, scale in enumerate(native_ladder(fit, to, factors)):
        if scale <= 1:
            spans = [_real_span(length, scale, size, centre) for length, centre in ((width, point[0]), (height, point[1]))]
            (x0, x1, w), (y0, y1, h) = spans
            states.append(Planned(index, scale, Region(x0, y0, x1, y1), (w, h), "photo", None))
        else:
            states.append(_child(states[-1], scale, size, point))
    return tuple(states)


def plan_paper(
    width: int, height: int, at: tuple[float, float], to: float, size: int = 512, factors: Sequence[float] = (STEP_FACTOR,)
) -> tuple[Planned, ...]:
    """Plan the official protocol: shorter side resized to ``size``, a ``size`` square cut around the point, then 4x steps (or ``factors``).

    Here scale counts from that square (its scale is 1), as in the paper's tables; regions stay in source pixels. Source: official
    inference code, point zoom (resized sides are cut to integers; the cut is centred unless ``at`` says otherwise).
    """
    check_target(at, to)
    check_size(size)
    fitted = paper_fit(width, height, size)
    wanted = [_place(at[i] * fitted[i], size, fitted[i]) for i in (0, 1)]
    corner = [int(value + 1e-9) for value in wanted]
    unit = (width / fitted[0], height / fitted[1])
    region = Region(corner[0] * unit[0], corner[1] * unit[1], (corner[0] + size) * unit[0], (corner[1] + size) * unit[1])
    states = [Planned(0, 1.0, region, (size, size), "photo", None)]
    # The square sits on whole pixels, so the point moves with it: a centred zoom stays centred, as in the official code.
    x, y = ((at[i] * fitted[i] - wanted[i] + corner[i]) * unit[i] for i in (0, 1))
    for scale in synthetic_ladder(to, factors)[1:]:
        states.append(_child(states[-1], scale, size, (x, y)))
    return tuple(states)


def paper_fit(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height after the official resize: the shorter side becomes ``size``, both are cut to integers."""
    ratio = size / min(width, height)
    return max(size, int(width * ratio)), max(size, int(height * ratio))


def _real_span(length: int, scale: float, size: int, centre: float) -> tuple[float, float, int]:
    """Start and end in source pixels, and the pixels, of a state at ``scale`` <= 1 along one axis: all of it if that fits."""
    if length * scale <= size + 1e-6:
        return 0.0, float(length), max(1, round(length * scale))
    start = _place(centre, size / scale, length)
    if scale == 1:
        start = float(int(start + 0.5))
    return start, start + size / scale, size


def _place(centre: float, length: float, limit: float) -> float:
    """Start of a span of ``length`` around ``centre`` that stays inside [0, limit]."""
    return min(max(centre - length / 2, 0.0), max(0.0, limit - length))


def _child(parent: Planned, scale: float, size: int, point: tuple[float, float]) -> Planned:
    """A state that zooms into ``parent``, on the parent's pixel grid wherever the child's size allows it."""
    factor = scale / parent.scale
    shape = (min(size, math.floor(parent.shape[0] * factor + 1e-6)), min(size, math.floor(parent.shape[1] * factor + 1e-6)))
    crops: list[tuple[int, int, float, float]] = []
    spans: list[tuple[float, float]] = []
    for axis in (0, 1):
        origin, extent = ((parent.region.x0, parent.region.width), (parent.region.y0, parent.region.height))[axis]
        pixels = parent.shape[axis]
        unit = extent / pixels
        length: float = min(shape[axis] / factor, float(pixels))
        if abs(length - round(length)) < 1e-9:
            length = round(length)
        start = _place((point[axis] - origin) / unit, length, pixels)
        if isinstance(length, int):
            first, count = min(int(start + 0.5), pixels - length), length
            start = float(first)
        else:
            count = min(pixels, math.ceil(length) + 1)
            first = min(math.floor(start), pixels - count)
        crops.append((first, first + count, start - first, min(float(count), start - first + length)))
        spans.append((origin + start * unit, origin + (start + length) * unit))
    (ax, bx, cx, dx), (ay, by, cy, dy) = crops
    region = Region(spans[0][0], spans[1][0], spans[0][1], spans[1][1])
    return Planned(parent.index + 1, scale, region, shape, "synthesised", Move(factor, (ax, ay, bx, by), (cx, cy, dx, dy)))
