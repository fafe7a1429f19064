"""Texture that a photo shows goes on below its pixels: what its finest octaves look like, laid over an enlargement at their own size.

Super-resolution networks draw edges well and leave textures flat, since the mean of all that a texture might be is flat. Nature looks about
as rough at every scale, and patches of a photo recur in it four times smaller (Glasner, Bagon and Irani 2009). So rough places get patches
of their own surroundings, in the photo's own pixels, as strongly as the photo is rough there and less what the enlargement already has:
rock gets rock, fur gets fur, and no words are needed. Which patch lies where is drawn from the seed and the place.

An edge is no texture. Contrast that sits in few lines does not count, and its patches are not taken. Nor are many lines that run one way,
such as folds, veins and strands: an enlargement draws those well, and patches that are moved break them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from chainzoom.backbones.directions import directions
from chainzoom.backbones.lattice import Numbers, drawn, mirrored, mixed
from chainzoom.backbones.noise import NoiseField
from chainzoom.backbones.pooling import Plane, pooled
from chainzoom.images import LUMA, Image, clip, resize
from chainzoom.seeds import derive

REACH = 13
"""Pixels of the photo around a place that decide how strongly its texture is continued."""
_BAND = 2
"""What is finer than a mean over so many pixels to each side is texture: periods of up to 6 pixels."""
_SPACING, _NEAR = 8, 4
"""Distance of patches in the enlargement, and how far in the photo's pixels their content may come from."""
_SMALL, _TYPICAL, _SIDES, _WIDE, _OWN = 2, 3, 3, 8, 4
"""Reaches: of a small place, of what is typical, of the sides that must be rough, of what counts as even, of a patch's own strength."""
_LIFT = 1.35
"""Typical over least contrast of an even texture."""
_EVEN, _STEEP = 0.87, 6
"""Geometric over quadratic mean of the contrast of small places: from here on it is a texture, and how fast below it is not."""
_MANY_WAYS, _ONE_WAY = 0.35, 0.65
"""Coherence of the directions around a place up to which it is continued in full, and from which not at all."""
_EDGE = 2.0
"""Contrast beside the typical from which a small place is an edge and is not shown elsewhere."""
_FAINT = 1e-3
"""A quarter of a grey level: less is smooth."""
_STRONG = 20 / 255
"""Contrast above which a texture is continued more weakly: small things rather than grain."""
_GAIN = 1.9
"""Makes up for what is taken for edges and small things in a texture, by the detail of enlarged real surfaces (docs/pocket.md)."""
_MOST = 1.5
"""It makes a texture at most so many times as strong as all that is fine in the photo around there, edges counted: nothing is taken for an
edge in even grain, which would else become rougher than it is.
"""
_ROOM, _LEAST_ROOM, _SHADE = 0.18, 0.01, 4
"""Of the room that a place has towards black or white, whichever is nearer, what its texture's contrast may take, and what it always may:
beyond it there are blots, which every later step enlarges. Light is a mean over so many pixels to each side.
"""
_DARKEST = 0.1
"""Of the shading: what black still gets."""


@dataclass(frozen=True, slots=True)
class Texture:
    """``strength`` (H, W): contrast of a picture's texture, 1 = full range, 0 where there is none; ``most`` (H, W): contrast of all that is
    fine in it; ``even`` (H, W): 1 where that is grain, 0 where it is edges; ``pattern`` (H, W): the texture itself with a contrast of about
    1, without its edges.
    """

    strength: Plane
    most: Plane
    even: Plane
    pattern: Plane

    @classmethod
    def of(cls, image: Image) -> Texture:
        """Of a picture (H, W, 3)."""
        band = _band(image)
        small = np.sqrt(pooled(band * band, _SMALL)) + np.float32(_FAINT)
        logs = np.log(small)
        typical = np.exp(pooled(logs, _TYPICAL))
        # The smoother side counts: a texture is rough on all sides, an edge is not.
        least = pooled(_least(typical, _SIDES), _SIDES - 1)
        same = np.exp(pooled(logs, _WIDE)) / np.sqrt(pooled(small * small, _WIDE))
        even = np.minimum(1, same / _EVEN) ** _STEEP * np.clip((_ONE_WAY - directions(band, _WIDE)[0]) / (_ONE_WAY - _MANY_WAYS), 0, 1)
        found = np.minimum(typical, np.float32(_LIFT) * least)
        pattern = band / found * np.minimum(1, (_EDGE * found / small) ** 2)
        pattern /= np.sqrt(np.maximum(pooled(pattern * pattern, _OWN), 0.25))
        strength = np.maximum(found * even - 2 * _FAINT, 0)
        strength /= np.sqrt(1 + (strength / _STRONG) ** 2)
        most = np.sqrt(pooled(band * band, _WIDE))
        return cls(np.asarray(strength, np.float32), most, np.asarray(even, np.float32), np.asarray(pattern, np.float32))

    @property
    def share(self) -> float:
        """Of the picture that is continued to be seen: by more than a grey level."""
        return float((self.strength > 1 / 255).mean())


def continued(made: Image, image: Image, noise: NoiseField, origin: tuple[int, int], amount: float = 1.0) -> Image:
    """``made``, an enlargement (H, W, 3) of ``image`` (h, w, 3), with the texture of ``image`` gone on with; in [0, 1].

    ``noise`` and ``origin`` as for FieldBackbone: the same place gets the same patches in every window. ``amount`` 0 changes nothing, 1
    makes it about as rough as the photo, 2 about twice as rough. The result no longer shrinks back to ``image`` exactly; whoever asks
    projects it.
    """
    if amount <= 0 or not (texture := Texture.of(image)).strength.any():
        return made
    size = (made.shape[1], made.shape[0])
    strength = np.minimum(np.float32(_GAIN) * texture.strength, np.float32(_MOST) * texture.most)
    wanted = np.maximum(resize(strength, size), 0)
    band = _band(made)
    has = np.exp(pooled(np.log(np.sqrt(pooled(band * band, _SMALL)) + np.float32(_FAINT)), 4 * _TYPICAL))
    missing = np.float32(amount) * np.sqrt(np.maximum(wanted**2 - has**2, 0))
    under = clip(resize(image, size))
    shade = (under + np.float32(_DARKEST)) / ((under @ LUMA) + np.float32(_DARKEST))[..., None]
    light = pooled(np.ascontiguousarray(under @ LUMA), _SHADE)
    missing = np.minimum(missing, np.float32(_ROOM) * np.minimum(light, 1 - light) + np.float32(_LEAST_ROOM))
    grain = missing * _laid(texture.pattern, made.shape[0] // image.shape[0], noise, origin)
    return clip(made + grain[..., None] * shade)


def _band(image: Image) -> Plane:
    plane = np.asarray(image @ LUMA, np.float32)
    return plane - pooled(plane, _BAND)


def _least(plane: Plane, reach: int) -> Plane:
    """The least within ``reach`` pixels along each axis."""
    padded = np.pad(plane, reach, mode="symmetric")
    rows = sliding_window_view(padded, 2 * reach + 1, axis=0).min(-1)
    return np.asarray(sliding_window_view(rows, 2 * reach + 1, axis=1).min(-1))


def _laid(pattern: Plane, scale: int, noise: NoiseField, origin: tuple[int, int]) -> Plane:
    """Patches of (h, w) over (h * scale, w * scale), not enlarged, each from near the place where it lies."""
    height, width = pattern.shape
    seed = derive(noise.seed, "texture", round(256 * np.log2(noise.scale)))
    x0, y0 = origin

    def corners(down: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
        dy, dx = drawn(seed, down, right, 2 * _NEAR + 1)
        tops = (down * _SPACING // scale - y0)[:, None] + dy - _NEAR - _SPACING
        lefts = (right * _SPACING // scale - x0)[None] + dx - _NEAR - _SPACING
        return tops, lefts

    rows, columns = np.arange(height * scale) + scale * y0, np.arange(width * scale) + scale * x0
    return mixed(pattern, corners, mirrored, rows, columns, _SPACING)
