"""Cutting exemplars (``backbones.exemplars``) out of pictures: squares without their slow part, which continue on their other side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.backbones.exemplars import SIDE
from chainzoom.images import resize

_SLOW = 48
"""Standard deviation in pixels of the blur that is taken off: light and large patches belong to the picture, not to the surface."""
_CONTRAST = (0.012, 0.2)
_EVEN = 0.75
"""Largest spread of contrast over a 4 x 4 grid, relative to its mean."""
_FINENESS = (0.7, 8.0)
_REAL = 2.5
"""Fineness of real surfaces at their own pixels: about three times that of whole photos."""
_SEAM = 1.3
"""Largest step across the border of a picture that continues on its other side, relative to the steps inside."""
_FADE = 0.08
"""Share of a cut that is laid over its other end where it does not continue there by itself."""
_NEARLY = 0.9
"""Share of an exemplar's side from which on a picture is stretched to it; smaller ones are laid side by side."""
_LEAST = 0.6
"""A cut is narrowed by so much at most to where its pattern starts anew."""
_SCALES = (1.414, 1.0, 0.707, 0.5, 0.354, 0.25)
_NEAR = (724, 1024, 1448, 2048)
"""Sides that a picture which continues on its other side is brought to before a part of it is cut."""
_ENLARGED = 1.5

Cut = tuple[NDArray[np.float32], float]
"""(512, 512) of a cut without its slow part, and its merit (lower is better)."""


def cuts(picture: PILImage.Image, ordered: bool) -> list[Cut]:
    """The usable cuts of a grey picture, from far and from near, a little enlarged at the most.

    Of one that continues on its other side the whole too, once and laid twice along each axis.
    """
    if not _continues(level(picture, picture.size)):
        sizes = [(round(picture.width * scale), round(picture.height * scale)) for scale in _SCALES]
        return [cut for size in sizes if min(size) >= SIDE // 2 and (cut := _part(level(picture, size), ordered)) is not None]
    side = min(picture.size)
    # A stretch beyond a quarter would be seen; small pictures are laid side by side.
    if max(picture.size) > 1.25 * side:
        return []
    whole = [_judged(_laid(level(picture, (size, size)))) for size in (SIDE, SIDE // 2) if size <= max(side, SIDE // 2)]
    parts = [_part(level(picture, (size, size)), ordered) for size in _NEAR if size <= _ENLARGED * side]
    return [cut for cut in (*whole, *parts) if cut is not None]


def whole(picture: PILImage.Image) -> NDArray[np.float32]:
    """(512, 512) of all of a square picture, without its slow part."""
    plane = level(picture.convert("L"), picture.size)
    for _ in range(2):
        plane = np.ascontiguousarray(_continued(plane, False).T)
    return _fast(resize(plane, (SIDE, SIDE), "lanczos"))


def level(picture: PILImage.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) in [0, 1] of a grey picture at a size."""
    whole = picture if size == picture.size else picture.resize(size, PILImage.Resampling.LANCZOS)
    return np.asarray(whole, np.float32) / np.float32(255)


def _laid(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Side by side as often as an exemplar holds it."""
    return np.tile(plane, (SIDE // plane.shape[0], SIDE // plane.shape[1]))


def _part(plane: NDArray[np.float32], ordered: bool) -> Cut | None:
    """The best of three squares of a picture, made to continue on their other side."""
    least, best = min(plane.shape), None
    wide = min(round(SIDE * (1 + _FADE)), least)
    goal = SIDE if least >= _NEARLY * SIDE else SIDE // 2
    height, width = plane.shape
    for x, y in {(0, 0), (width - wide, height - wide), ((width - wide) // 2, (height - wide) // 2)}:
        cut = plane[y : y + wide, x : x + wide]
        for _ in range(2):
            cut = np.ascontiguousarray(_continued(cut, ordered).T)
        found = _judged(_laid(resize(cut, (goal, goal), "lanczos")))
        if found is not None and (best is None or found[1] < best[1]):
            best = found
    return best


def _continues(plane: NDArray[np.float32]) -> bool:
    for axis in (0, 1):
        steps = np.abs(plane - np.roll(plane, 1, axis)).mean(axis=1 - axis)
        if steps[0] > _SEAM * np.median(steps[1:]):
            return False
    return True


def _continued(plane: NDArray[np.float32], ordered: bool) -> NDArray[np.float32]:
    """(H, w) of (H, W): narrowed to where the pattern starts anew, its end faded into its beginning."""
    width = plane.shape[1]
    fade = max(4, round(_FADE * width))
    start = plane[:, :fade]
    ends = np.arange(round(_LEAST * width) if ordered else width - fade, width - fade + 1)
    end = int(ends[np.argmin([float(np.mean((plane[:, k : k + fade] - start) ** 2)) for k in ends])])
    rise = (np.arange(fade, dtype=np.float32) + 0.5) / fade
    over = plane[:, end : end + fade] * (1 - rise) + start * rise
    if not ordered:  # what is not alike loses contrast where it is mixed
        mean = over.mean()
        over = mean + (over - mean) / np.sqrt((1 - rise) ** 2 + rise**2)
    return np.concatenate([over, plane[:, fade:end]], axis=1)


def _judged(plane: NDArray[np.float32]) -> Cut | None:
    """The texture of a cut and its merit, or None where it is blurred, raw, faint, harsh or uneven."""
    from chainzoom.evaluation.metrics.texture import NATURAL_RATIO, spectral_ratio

    texture = _fast(plane)
    fineness = spectral_ratio(plane.astype(np.float64)) / NATURAL_RATIO
    blocks = texture.reshape(4, SIDE // 4, 4, SIDE // 4).std(axis=(1, 3))
    contrast, uneven = float(blocks.mean()), float(blocks.std() / max(blocks.mean(), 1e-6))
    if not (_FINENESS[0] <= fineness <= _FINENESS[1] and _CONTRAST[0] <= contrast <= _CONTRAST[1] and uneven <= _EVEN):
        return None
    return texture, uneven + 0.3 * abs(float(np.log2(fineness / _REAL)))


def _fast(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plane without its slow part and its mean."""
    texture = plane - _blurred(plane)
    return np.asarray(texture - texture.mean(), np.float32)


def _blurred(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A Gaussian blur in float, by three box blurs along each axis, of a picture that repeats."""
    side = int(_SLOW * 2) | 1
    out = plane.astype(np.float64)
    for axis in (0, 1):
        for _ in range(3):
            padded = np.pad(out, [(side // 2 + 1, side // 2) if k == axis else (0, 0) for k in (0, 1)], mode="wrap")
            sums = np.cumsum(padded, axis=axis)
            out = (np.take(sums, range(side, sums.shape[axis]), axis) - np.take(sums, range(sums.shape[axis] - side), axis)) / side
    return out.astype(np.float32)
