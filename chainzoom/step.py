"""What the chain hands out: one immutable Step a state, and the pure function that makes a synthesised one."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.base import Backbone
from chainzoom.correctors.colour import Align, align
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.errors import BackendError
from chainzoom.images import Image, Kernel, clip, frozen, resize
from chainzoom.prompters.base import Prompt
from chainzoom.regions import Kind, Move, Region
from chainzoom.weights import Weights


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time of a step: writing the prompt, super-resolution with its corrections, and everything together."""

    prompt: float = 0.0
    sr: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Consistency:
    """PSNR in dB between a step shrunk back and what it zoomed into: as the backbone made it, and after correction."""

    raw: float
    corrected: float


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One state of the chain and how it came about.

    index        0 for the whole photo
    scale        output pixels per source pixel (``paper`` protocol: per pixel of state 0)
    factor       zoom from the state before; 1 for state 0
    region       what it shows, in source pixels
    kind         ``photo``: the photo's own pixels, resampled; ``synthesised``: made from here on
    image        (H, W, 3) float32 in [0, 1], read-only
    alpha        (H, W) float32 in [0, 1] of the photo, or None
    input        what was zoomed into, at the parent's resolution (h, w, 3); None for photo states
    prompt       the words that steered it
    backbone     registry name of what made it; ``photo`` for photo states
    weights      every weight file behind the pixels
    prompter_weights  every weight file behind the words
    seed         seed given to the backbone
    consistency  None for photo states
    seconds      wall time
    """

    index: int
    scale: float
    factor: float
    region: Region
    kind: Kind
    image: Image
    alpha: NDArray[np.float32] | None = None
    input: Image | None = None
    prompt: Prompt = field(default=Prompt("", "null"))
    backbone: str = "photo"
    weights: tuple[Weights, ...] = ()
    prompter_weights: tuple[Weights, ...] = ()
    seed: int = 0
    consistency: Consistency | None = None
    seconds: Seconds = field(default=Seconds())


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Pixels of a synthesised state: ``image`` (H, W, 3), the ``input`` it was made from, and the measured consistency if any."""

    image: Image
    input: Image
    consistency: Consistency | None
    seconds: float


def advance(
    parent: Image,
    move: Move,
    shape: tuple[int, int],
    backbone: Backbone,
    prompt: str,
    seed: int,
    *,
    how: Align = "none",
    strength: float = 1.0,
    direct: bool = False,
) -> Rendered:
    """Zoom into ``parent``: crop, enlarge by the backbone, align colours, make consistent, resample to ``shape`` = (w, h).

    A pure function of its arguments. ``direct`` is the paper's baseline (``onestep``): the crop, however small, is first enlarged by
    bicubic interpolation to what a single backbone call needs.
    """
    start = perf_counter()
    x0, y0, x1, y1 = move.crop
    crop, box = np.ascontiguousarray(parent[y0:y1, x0:x1]), move.box
    if direct:
        scale = backbone.facts.scale
        size = (max(1, round(shape[0] / scale)), max(1, round(shape[1] / scale)))
        crop, box = clip(resize(crop, size, "bicubic", box)), (0.0, 0.0, float(size[0]), float(size[1]))
    made = enlarge(backbone, crop, prompt, seed)
    raw_db = consistency_db(made, crop)
    image = made
    if how != "none":
        image = align(image, clip(resize(crop, (made.shape[1], made.shape[0]), "bicubic")), how)
    image = project(image, crop, strength)
    corrected_db = raw_db if image is made else consistency_db(image, crop)
    image = _cut(image, box, (image.shape[1] / crop.shape[1], image.shape[0] / crop.shape[0]), shape)
    return Rendered(frozen(image), frozen(crop), Consistency(raw_db, corrected_db), perf_counter() - start)


def interpolate(parent: Image, move: Move, shape: tuple[int, int], kernel: Kernel) -> Rendered:
    """Zoom into ``parent`` by interpolation alone; the kernel sees nothing around the crop, as in the official baselines."""
    start = perf_counter()
    x0, y0, x1, y1 = move.crop
    crop = frozen(parent[y0:y1, x0:x1])
    return Rendered(frozen(clip(resize(crop, shape, kernel, move.box))), crop, None, perf_counter() - start)


def enlarge(backbone: Backbone, crop: Image, prompt: str, seed: int) -> Image:
    """Call the backbone on (h, w, 3), padded to the sizes it accepts; the result is (h * scale, w * scale, 3), checked.

    Raises BackendError when the backbone returns another size, NaN or infinity.
    """
    facts = backbone.facts
    height, width = crop.shape[:2]
    given = crop
    if facts.input == "upscaled":
        given = clip(resize(crop, (width * facts.scale, height * facts.scale), "bicubic"))
    padded = [-(-max(side, facts.min_size) // facts.multiple) * facts.multiple for side in given.shape[:2]]
    extra = (padded[0] - given.shape[0], padded[1] - given.shape[1])
    if any(extra):
        given = np.pad(given, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="edge")
    made = backbone.upscale(given, prompt, seed=seed)
    zoom = 1 if facts.input == "upscaled" else facts.scale
    expected = (given.shape[0] * zoom, given.shape[1] * zoom, 3)
    if made.shape != expected or not np.isfinite(made).all():
        state = f"shape {made.shape}" if made.shape != expected else "NaN or infinite values"
        raise BackendError(f"backbone {facts.name} should have returned finite pixels of shape {expected}; it returned {state}")
    return clip(made[: height * facts.scale, : width * facts.scale])


def _cut(image: Image, box: tuple[float, float, float, float], zoom: tuple[float, float], shape: tuple[int, int]) -> Image:
    """The part of an enlarged crop that the state shows; a plain slice where the pixel grids agree."""
    x0, y0, x1, y1 = box[0] * zoom[0], box[1] * zoom[1], box[2] * zoom[0], box[3] * zoom[1]
    whole = tuple(round(value) for value in (x0, y0, x1, y1))
    if whole == (x0, y0, x1, y1) and shape == (whole[2] - whole[0], whole[3] - whole[1]):
        return image[whole[1] : whole[3], whole[0] : whole[2]]
    limits = (min(x1, float(image.shape[1])), min(y1, float(image.shape[0])))
    return clip(resize(image, shape, "lanczos", (x0, y0, *limits)))
