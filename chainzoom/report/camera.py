"""Where the film's camera is at every moment.

The camera is a square window in source pixels. Its side shrinks at constant speed in log scale. Between any two moments such a motion has
one point that stays put on the screen, the point zoomed towards; a viewer sees a kink when that point jumps. So the path is the one whose
fixed point moves least (squared, summed over time) while the window passes close to every state's region and never leaves the photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainzoom.report.frames import Box

_SAMPLES_PER_4X = 24
_PIN = 400.0  # price of passing beside a region (in screens, squared) against the fixed point's wandering


@dataclass(frozen=True, slots=True)
class Window:
    """A square view: left and top edge and side length in source pixels."""

    x0: float
    y0: float
    side: float


def around(region: Box) -> Window:
    """The smallest square around a region, with the same centre."""
    x0, y0, x1, y1 = region
    side = max(x1 - x0, y1 - y0)
    return Window((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)


def camera_path(
    regions: Sequence[Box], *, fps: int = 30, seconds_per_4x: float = 1.4, hold: float = 0.7, longest: float = 60.0
) -> Iterator[Window]:
    """One window for each video frame, from all of the first region to exactly the last.

    ``regions`` are nested, in source pixels; the first bounds what may be seen. ``hold`` seconds rest at either end, with a short ramp into
    and out of the motion. Films that would take more than ``longest`` seconds zoom faster. A single region is shown for two seconds.
    """
    stops = [around(region) for region in regions]
    zoom = math.log(stops[0].side / stops[-1].side)
    if zoom <= 1e-9:
        yield from [stops[0]] * (2 * fps)
        return
    seconds = min(zoom / math.log(4) * seconds_per_4x, longest - 2 * hold)
    path = _solve(stops, regions[0], zoom)
    rest = round(hold * fps)
    yield from [stops[0]] * rest
    ramp = min(0.7, seconds / 4)
    count = max(round((seconds + ramp) * fps), 2)
    for i in range(1, count):
        yield path.at(_eased(i / count, ramp / (seconds + ramp)) * zoom)
    yield from [stops[-1]] * (rest + 1)


def _eased(t: float, ramp: float) -> float:
    """Distance covered at time ``t`` of 1 when speed rises and falls gently during the first and last ``ramp``."""
    if t > 0.5:
        return 1 - _eased(1 - t, ramp)
    part = min(t / ramp, 1.0)
    return (ramp * part**3 * (1 - part / 2) + max(t - ramp, 0.0)) / (1 - ramp)


@dataclass(frozen=True, slots=True)
class _Path:
    """Windows at evenly spaced zooms, and pure zooms about one point between them."""

    sides: NDArray[np.float64]
    x0: NDArray[np.float64]
    y0: NDArray[np.float64]
    zoom: float
    bounds: Box

    def at(self, zoom: float) -> Window:
        side = float(self.sides[0]) * math.exp(-zoom)
        x0 = float(np.interp(-side, -self.sides, self.x0))
        y0 = float(np.interp(-side, -self.sides, self.y0))
        low_x, high_x = _range(self.bounds[0], self.bounds[2], side)
        low_y, high_y = _range(self.bounds[1], self.bounds[3], side)
        return Window(min(max(x0, low_x), high_x), min(max(y0, low_y), high_y), side)


def _range(start: float, end: float, side: float) -> tuple[float, float]:
    """Where a window of ``side`` may start: inside the photo, or around all of it when it is wider."""
    return min(start, end - side), max(start, end - side)


def _solve(stops: Sequence[Window], bounds: Box, zoom: float) -> _Path:
    count = min(max(math.ceil(zoom / math.log(4) * _SAMPLES_PER_4X), 12), 480) + 1
    sides = stops[0].side * np.exp(-np.linspace(0, zoom, count))
    sides[-1] = stops[-1].side
    last = stops[-1]
    nodes = np.array([stop.side for stop in stops])
    x0 = _axis(sides, nodes, np.array([s.x0 for s in stops]), last.x0 + last.side / 2, bounds[0], bounds[2])
    y0 = _axis(sides, nodes, np.array([s.y0 for s in stops]), last.y0 + last.side / 2, bounds[1], bounds[3])
    return _Path(sides, x0, y0, zoom, bounds)


def _axis(
    sides: NDArray[np.float64], nodes: NDArray[np.float64], starts: NDArray[np.float64], point: float, start: float, end: float
) -> NDArray[np.float64]:
    """The window's edge along one axis at every side length.

    The unknown is q, the place of ``point`` on the screen (0..1), so that all zooms weigh the same. For samples of constant ratio r the
    fixed point of one move is (q_i - r q_{i+1}) / (1 - r), linear in q: a bounded least-squares problem, solved by ADMM.
    """
    n = len(sides)
    step = math.log(sides[0] / sides[1])
    ratio = math.exp(-step)
    fixed = (np.eye(n - 1, n) - ratio * np.eye(n - 1, n, 1)) / (1 - ratio)
    wander = np.diff(fixed, axis=0) / math.sqrt(step)
    place = np.interp(np.log(sides[0] / nodes), np.arange(n) * step, np.arange(n))
    left = np.minimum(place.astype(int), n - 2)
    pins = np.zeros((len(nodes), n))
    pins[np.arange(len(nodes)), left] = 1 - (place - left)
    pins[np.arange(len(nodes)), left + 1] = place - left
    targets = (point - starts) / nodes

    edges = np.array([_range(start, end, side) for side in sides])
    low, high = (point - edges[:, 1]) / sides, (point - edges[:, 0]) / sides
    low[0] = high[0] = targets[0]
    low[-1] = high[-1] = targets[-1]

    rho = 1.0
    inverse = np.linalg.inv(wander.T @ wander + _PIN * pins.T @ pins + rho * np.eye(n))
    pull = _PIN * pins.T @ targets
    q = np.clip((point - np.interp(-sides, -nodes, starts)) / sides, low, high)
    dual = np.zeros(n)
    for _ in range(1500):
        free = inverse @ (pull + rho * (q - dual))
        q = np.clip(free + dual, low, high)
        dual += free - q
    # Rounded well below what can be seen, so that the linear algebra's last digit cannot change a pixel.
    return np.asarray(point - np.round(q, 9) * sides, dtype=np.float64)
