"""What the chain hands out: one immutable Step a state, and the pure function that makes a synthesised one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.base import Backbone, BackboneFacts, BatchBackbone, Choice, ChoosingBackbone, informed
from chainzoom.backbones.noise import FieldBackbone, NoiseField, PlacedBackbone
from chainzoom.correctors.colour import Align, align
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.errors import BackendError
from chainzoom.images import Image, Kernel, clip, frozen, resize
from chainzoom.prompters.base import Prompt
from chainzoom.regions import Kind, Move, Region
from chainzoom.weights import Weights

Box = tuple[float, float, float, float]


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
    choice       what a backbone of several parts chose, and why; None for others and for photo states
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
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Pixels of a synthesised state: ``image`` (H, W, 3), the ``input`` it was made from, the consistency and the choice if any."""

    image: Image
    input: Image
    consistency: Consistency | None
    seconds: float
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state lies in its zoom, for backbones that take their noise by place.

    seed    of the whole zoom
    origin  (x, y) of the top-left corner in the state's own pixels
    scale   of the state: its pixels for a photo pixel
    """

    seed: int
    origin: tuple[int, int]
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A step to be rendered: where to zoom in which pixels, the (width, height) to make, the words and the seed.

    ``evidence`` is how many photo pixels there are at most to a pixel of ``parent``, along one axis: 1 where they are the photo's own.
    ``place`` is the parent's; without one the seed alone decides what is invented.
    """

    parent: Image
    move: Move
    shape: tuple[int, int]
    prompt: str = ""
    seed: int = 0
    evidence: float = 1.0
    place: Place | None = None


def advance(work: Work, backbone: Backbone, *, how: Align = "none", strength: float = 1.0, direct: bool = False) -> Rendered:
    """Zoom into a parent: crop, enlarge by the backbone, align colours, make consistent, resample to the shape.

    A pure function of its arguments. ``direct`` is the paper's baseline (``onestep``): the crop, however small, is first enlarged by
    bicubic interpolation to what a single backbone call needs.
    """
    return advance_all([work], backbone, how=how, strength=strength, direct=direct)[0]


def advance_all(
    works: Sequence[Work], backbone: Backbone, *, how: Align = "none", strength: float = 1.0, direct: bool = False
) -> list[Rendered]:
    """advance for many steps; those of one size go through the backbone together where it takes batches."""
    start = perf_counter()
    crops, boxes = zip(*(_crop(work, backbone.facts.scale, direct) for work in works), strict=True)
    made, choices = _enlarge(works, backbone, crops, boxes)
    shared = (perf_counter() - start) / len(works)
    # Correcting a picture takes as long as a fast backbone needs to make it, and the arithmetic runs outside the interpreter's lock.
    with ThreadPoolExecutor(min(len(works), os.cpu_count() or 1)) as pool:
        finished = [pool.submit(_finish, *parts, how, strength, shared) for parts in zip(works, crops, boxes, made, strict=True)]
        return [replace(one.result(), choice=choice) for one, choice in zip(finished, choices, strict=True)]


def _enlarge(
    works: Sequence[Work], backbone: Backbone, crops: Sequence[Image], boxes: Sequence[Box]
) -> tuple[list[Image], list[Choice | None]]:
    """What the backbone makes of the crops, and what it chose if it chooses: such a one is asked once for each amount of evidence."""
    groups: dict[float, list[int]] = {}
    for number, (work, box) in enumerate(zip(works, boxes, strict=True)):
        groups.setdefault(_evidence(work, box) if isinstance(backbone, ChoosingBackbone) else 1.0, []).append(number)
    made: dict[int, Image] = {}
    chosen: dict[int, Choice] = {}
    for evidence, numbers in groups.items():
        told = informed(backbone, evidence)
        if isinstance(told, FieldBackbone):
            made |= {n: enlarge(_placed(told, works[n]), [crops[n]], [works[n].prompt], [works[n].seed])[0] for n in numbers}
        else:
            images = enlarge(told, [crops[n] for n in numbers], [works[n].prompt for n in numbers], [works[n].seed for n in numbers])
            made |= dict(zip(numbers, images, strict=True))
        if isinstance(told, ChoosingBackbone):
            chosen |= {n: told.choice(crops[n], works[n].prompt, seed=_noise_seed(told, works[n])) for n in numbers}
    return [made[n] for n in range(len(works))], [chosen.get(n) for n in range(len(works))]


def _placed(backbone: Backbone, work: Work) -> Backbone:
    """A field backbone where the crop lies, if the work says so."""
    place = work.place
    if place is None or not isinstance(backbone, FieldBackbone):
        return backbone
    x, y = place.origin[0] + work.move.crop[0], place.origin[1] + work.move.crop[1]
    return PlacedBackbone(backbone, NoiseField(place.seed, place.scale * backbone.facts.scale), (x, y))


def _noise_seed(backbone: Backbone, work: Work) -> int:
    """The seed of what the backbone invents: of the whole zoom where its noise goes by place."""
    return work.place.seed if work.place is not None and isinstance(backbone, FieldBackbone) else work.seed


def _evidence(work: Work, box: Box) -> float:
    """Of the crop: less than the parent's where it was enlarged on the way to the backbone (``direct``)."""
    return work.evidence * min(1.0, (work.move.box[2] - work.move.box[0]) / (box[2] - box[0]))


def _crop(work: Work, scale: int, direct: bool) -> tuple[Image, Box]:
    """What the backbone is given, and the state's box inside it."""
    x0, y0, x1, y1 = work.move.crop
    crop = np.ascontiguousarray(work.parent[y0:y1, x0:x1])
    if not direct:
        return crop, work.move.box
    size = (max(1, round(work.shape[0] / scale)), max(1, round(work.shape[1] / scale)))
    return clip(resize(crop, size, "bicubic", work.move.box)), (0.0, 0.0, float(size[0]), float(size[1]))


def _finish(work: Work, crop: Image, box: Box, made: Image, how: Align, strength: float, shared: float) -> Rendered:
    """Correct and cut what the backbone made of ``crop``; ``shared`` seconds were already spent on it."""
    start = perf_counter()
    raw_db = consistency_db(made, crop)
    image = made
    if how != "none":
        image = align(image, clip(resize(crop, (made.shape[1], made.shape[0]), "bicubic")), how)
    image = project(image, crop, strength)
    corrected_db = raw_db if image is made else consistency_db(image, crop)
    image = _cut(image, box, (image.shape[1] / crop.shape[1], image.shape[0] / crop.shape[0]), work.shape)
    return Rendered(frozen(image), frozen(crop), Consistency(raw_db, corrected_db), shared + perf_counter() - start)


def interpolate(work: Work, kernel: Kernel) -> Rendered:
    """Zoom by interpolation alone; the kernel sees nothing around the crop, as in the official baselines."""
    start = perf_counter()
    x0, y0, x1, y1 = work.move.crop
    crop = frozen(work.parent[y0:y1, x0:x1])
    return Rendered(frozen(clip(resize(crop, work.shape, kernel, work.move.box))), crop, None, perf_counter() - start)


def enlarge(backbone: Backbone, crops: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
    """Call the backbone on (h, w, 3) crops, padded to the sizes it accepts; the results are (h * scale, w * scale, 3), checked.

    Raises BackendError when the backbone returns another size, NaN or infinity.
    """
    facts = backbone.facts
    given = [_padded(crop, facts) for crop in crops]
    made: dict[int, Image] = {}
    batches: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(given):
        batches.setdefault(image.shape, []).append(number)
    for numbers in batches.values():
        if len(numbers) > 1 and isinstance(backbone, BatchBackbone):
            images = backbone.upscale_batch([given[n] for n in numbers], [prompts[n] for n in numbers], [seeds[n] for n in numbers])
            made |= dict(zip(numbers, images, strict=True))
        else:
            made |= {n: backbone.upscale(given[n], prompts[n], seed=seeds[n]) for n in numbers}
    return [_checked(made[n], given[n], crop, facts) for n, crop in enumerate(crops)]


def _padded(crop: Image, facts: BackboneFacts) -> Image:
    """The crop as the backbone wants it: enlarged first if it takes ``upscaled`` input, its edges repeated up to the size rules."""
    if facts.input == "upscaled":
        crop = clip(resize(crop, (crop.shape[1] * facts.scale, crop.shape[0] * facts.scale), "bicubic"))
    wanted = [-(-max(side, facts.min_size) // facts.multiple) * facts.multiple for side in crop.shape[:2]]
    extra = (wanted[0] - crop.shape[0], wanted[1] - crop.shape[1])
    return np.pad(crop, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="edge") if any(extra) else crop


def _checked(made: Image, given: Image, crop: Image, facts: BackboneFacts) -> Image:
    """The part that belongs to ``crop``, if the backbone kept its promise."""
    zoom = 1 if facts.input == "upscaled" else facts.scale
    expected = (given.shape[0] * zoom, given.shape[1] * zoom, 3)
    if made.shape != expected or not np.isfinite(made).all():
        state = f"shape {made.shape}" if made.shape != expected else "NaN or infinite values"
        raise BackendError(f"backbone {facts.name} should have returned finite pixels of shape {expected}; it returned {state}")
    return clip(made[: crop.shape[0] * facts.scale, : crop.shape[1] * facts.scale])


def _cut(image: Image, box: Box, zoom: tuple[float, float], shape: tuple[int, int]) -> Image:
    """The part of an enlarged crop that the state shows; a plain slice where the pixel grids agree."""
    x0, y0, x1, y1 = box[0] * zoom[0], box[1] * zoom[1], box[2] * zoom[0], box[3] * zoom[1]
    whole = tuple(round(value) for value in (x0, y0, x1, y1))
    if whole == (x0, y0, x1, y1) and shape == (whole[2] - whole[0], whole[3] - whole[1]):
        return image[whole[1] : whole[3], whole[0] : whole[2]]
    limits = (min(x1, float(image.shape[1])), min(y1, float(image.shape[0])))
    return clip(resize(image, shape, "lanczos", (x0, y0, *limits)))
