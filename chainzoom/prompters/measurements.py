"""What can be said of a picture without recognising anything: colours, sharpness, texture, contrast, brightness.

All words come with a confidence in [0, 1]: a share of the picture's area for colours, the distance past a threshold for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.images import Image, resize

Tags = list[tuple[str, float]]
Plane = NDArray[np.float32]

COLOURS = {
    "black": (12, 12, 12),
    "dark grey": (62, 62, 62),
    "grey": (128, 128, 128),
    "light grey": (190, 190, 190),
    "white": (246, 246, 246),
    "red": (205, 30, 35),
    "dark red": (105, 20, 24),
    "orange": (240, 130, 30),
    "brown": (110, 68, 38),
    "tan": (176, 138, 98),
    "beige": (226, 208, 178),
    "yellow": (245, 215, 50),
    "olive": (112, 112, 46),
    "green": (66, 158, 60),
    "dark green": (28, 70, 32),
    "teal": (32, 130, 130),
    "blue-grey": (112, 132, 158),
    "light blue": (150, 200, 235),
    "blue": (45, 95, 200),
    "dark blue": (24, 34, 84),
    "purple": (122, 52, 160),
    "lilac": (200, 160, 214),
    "pink": (240, 150, 180),
}
"""Colour names and what they mean, as 8-bit sRGB; a pixel takes the nearest one in OKLab."""

_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]],
    np.float32,
)
_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]],
    np.float32,
)
_CHROMA_WEIGHT = 1.5
"""Hue and chroma count more than lightness when a colour is named: shading changes lightness."""


def oklab(image: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """sRGB-encoded (..., 3) in [0, 1] -> OKLab (L in [0, 1], a, b) by Ottosson's matrices."""
    rgb = np.clip(image.astype(np.float32, copy=False), 0, 1)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _LMS.T) @ _LAB.T)


def shares(image: Image) -> dict[str, float]:
    """Share of the picture's area that each colour's name fits, largest first."""
    scale = np.array([1, _CHROMA_WEIGHT, _CHROMA_WEIGHT], dtype=np.float32)
    pixels = oklab(resize(image, (48, 48), "box").reshape(-1, 3)) * scale
    anchors = oklab(np.array(list(COLOURS.values()), dtype=np.float32) / 255) * scale
    nearest = np.argmin(((pixels[:, None] - anchors[None]) ** 2).sum(-1), axis=1)
    found = np.bincount(nearest, minlength=len(COLOURS)) / len(pixels)
    return dict(sorted(zip(COLOURS, found.tolist(), strict=True), key=lambda pair: -pair[1]))


def colours(image: Image, least: float = 0.15, most: int = 3) -> Tags:
    """Names of the colours that cover at least a ``least`` share of the picture, largest share first."""
    return [(name, share) for name, share in list(shares(image).items())[:most] if share >= least]


@dataclass(frozen=True, slots=True)
class Detail:
    """How much a picture carries.

    octaves  standard deviation of lightness in each octave of spatial frequency, finest first
    lost     how many of the finest octaves are empty, fractions allowed: 0 is as sharp as its pixels allow, 2 could be stored at a quarter
    pixels   how many pixels across its smaller side would carry the same detail
    """

    octaves: tuple[float, ...]
    lost: float
    pixels: float


_ROLLOFF = 0.7
"""Each finer octave of a sharp photograph keeps at least about this much of the strength of the coarser one."""
_PRESENT, _ABSENT = 0.65, 0.33
_NOISE = 0.001
"""Octaves weaker than rounding to 8 bits carry nothing."""


def lightness(image: Image, side: int = 256) -> Plane:
    """OKLab L of a picture, shrunk so that its smaller side is at most ``side``."""
    height, width = image.shape[:2]
    shrink = min(1.0, side / min(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.ascontiguousarray(oklab(image if shrink == 1 else resize(image, size))[..., 0])


def detail(plane: Plane) -> Detail:
    """Measure each octave against what the coarser ones make one expect: blur empties the finest first."""
    octaves, current = [], plane
    while min(current.shape) >= 16:
        height, width = current.shape
        coarse = resize(current, (width // 2, height // 2), "box")
        octaves.append(float(np.std(current - resize(coarse, (width, height)))))
        current = coarse
    lost = 0.0
    for k, strength in enumerate(octaves):
        expected = max((octaves[j] * _ROLLOFF ** (j - k) for j in range(k + 1, len(octaves))), default=0.0)
        fullness = strength / expected if expected else 1.0
        missing = float(np.clip((_PRESENT - fullness) / (_PRESENT - _ABSENT), 0, 1)) if strength > _NOISE else 1.0
        lost += missing
        if missing < 0.5:
            break
    return Detail(tuple(octaves), lost, min(plane.shape) / 2.0**lost)


def ramp(value: float, low: float, high: float) -> float:
    """0 at ``low`` and below (or beyond, when ``low`` > ``high``), 1 at ``high``, straight between."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def sharpness(measured: Detail) -> Tags:
    """One of sharp, soft, blurred."""
    certain = {"sharp": ramp(measured.lost, 1.0, 0.0), "blurred": ramp(measured.lost, 1.0, 2.0)}
    certain["soft"] = 1 - max(certain.values())
    word = max(certain, key=lambda key: certain[key])
    return [(word, certain[word])]


def stripes(plane: Plane) -> Tags:
    """Parallel lines: most parts of the picture hold edges, and these agree in direction. Nothing is said of fewer than 16 pixels."""
    if min(plane.shape) < 16:
        return []
    dy, dx = (np.asarray(g, dtype=np.float64) for g in np.gradient(plane))
    blocks = 4
    height, width = (n // blocks * blocks for n in plane.shape)

    def pool(values: NDArray[np.float64]) -> NDArray[np.float64]:
        cells = values[:height, :width].reshape(blocks, height // blocks, blocks, width // blocks)
        return np.asarray(cells.mean(axis=(1, 3)))

    xx, yy, xy = pool(dx * dx), pool(dy * dy), pool(dx * dy)
    energy = xx + yy
    even = float(np.median(energy) / max(energy.mean(), 1e-12))  # one edge fills few blocks, stripes fill all
    vector = complex((xx - yy).sum(), 2 * xy.sum())
    coherence = abs(vector) / max(float(energy.sum()), 1e-12)
    across = float(np.angle(vector)) / 2 % np.pi  # direction of the gradient; the lines run at right angles to it
    slope = dx * np.cos(across) + dy * np.sin(across)
    rise, fall = float(slope[slope > 0].sum()), float(-slope[slope < 0].sum())
    turning = min(rise, fall) / max(rise, fall, 1e-12)  # shading only rises or falls, stripes do both
    certain = ramp(coherence, 0.35, 0.8) * ramp(even, 0.25, 0.6) * ramp(turning, 0.3, 0.7) * ramp(float(energy.mean()) ** 0.5, 0.004, 0.015)
    lean = abs(np.degrees(across) - 90)
    word = "horizontal stripes" if lean < 25 else "vertical stripes" if lean > 65 else "diagonal stripes"
    return [(word, certain)]


def texture(plane: Plane, measured: Detail) -> Tags:
    """The likelier of smooth, fine-grained and rough, and stripes, where they are likely."""
    octaves = np.array((*measured.octaves, 0, 0, 0, 0)[:4])
    strength = float(np.sqrt((octaves[:3] ** 2).sum()))
    grain = float(octaves[:2].sum() / max(octaves[:4].sum(), 1e-9))
    rough = ramp(strength, 0.04, 0.1)
    tags = [
        ("smooth", ramp(strength, 0.03, 0.005)),
        ("fine-grained", ramp(strength, 0.015, 0.04) * ramp(grain, 0.45, 0.65)),
        ("rough", rough * ramp(grain, 0.65, 0.45)),
    ]
    return [max(tags, key=lambda tag: tag[1]), *stripes(plane)]


def contrast(plane: Plane) -> Tags:
    """Low or high contrast."""
    spread = float(plane.std())
    return [("low contrast", ramp(spread, 0.06, 0.01)), ("high contrast", ramp(spread, 0.2, 0.35))]


def brightness(plane: Plane) -> Tags:
    """Dark or bright."""
    mean = float(plane.mean())
    return [("dark", ramp(mean, 0.4, 0.15)), ("bright", ramp(mean, 0.75, 0.95))]


def measure(image: Image, plane: Plane, measured: Detail, least: float = 0.3) -> Tags:
    """All measured words of a picture whose confidence is at least ``least`` (colours: half of that), most certain first.

    Blur makes everything smooth, so a blurred picture is no evidence of texture or of low contrast.
    """
    known = ramp(measured.lost, 2.0, 0.5)
    surface = [(word, known * certain) for word, certain in (*texture(plane, measured), *contrast(plane))]
    found = [*sharpness(measured), *(tag for tag in (*surface, *brightness(plane)) if tag[1] >= least)]
    return sorted([*colours(image, least=least / 2), *found], key=lambda tag: -tag[1])
