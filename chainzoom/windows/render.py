"""From what windows read to their pixels: one call to the backbone for many, memory that runs out, results that are no pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from chainzoom.backbones.base import Backbone, informed
from chainzoom.backbones.noise import FieldBackbone, NoiseField, PlacedBackbone
from chainzoom.backbones.tiles import upscale_placed
from chainzoom.correctors.colour import adain
from chainzoom.errors import BackendError
from chainzoom.images import Image, clip, resize
from chainzoom.seeds import derive
from chainzoom.step import enlarge
from chainzoom.windows.grid import Index

ATTEMPTS = 3
_SMALLEST = 24
_OVERLAP, _RAMP = 16, 8
# Failures are looked for in squares of this many input pixels: half precision often fails in a part of a picture.
_BLOCK = 32
_BLACK, _DARK = 4 / 255, 8 / 255
_FLAT, _TEXTURED = 0.25 / 255, 4 / 255


@dataclass(frozen=True, slots=True, eq=False)
class WindowWork:
    """A window to be made: its name, what it reads (h, w, 3), where that lies on the level below, words and seed.

    ``evidence`` is how many photo pixels there are at most to a pixel of what it reads, along one axis.
    """

    index: Index
    image: Image
    origin: tuple[int, int]
    prompt: str = ""
    seed: int = 0
    evidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that a record must tell: ``kind`` is ``memory`` (windows were split) or ``redone`` (a result was no picture)."""

    kind: str
    index: Index
    text: str


class WindowRenderer:
    """Makes windows with a backbone; remembers what went wrong on the way.

    backbone   the network
    how        ``adain`` gives each window the mean and spread of what it reads, before it is blended; other values leave it
    incidents  in order; the caller may clear the list
    limit      largest input side in one backbone call, or None; halved when memory runs out, and it stays so
    """

    def __init__(self, backbone: Backbone, how: str = "none") -> None:
        self.backbone, self._how = backbone, how
        self.incidents: list[Incident] = []
        self.limit: int | None = None

    def render(self, works: Sequence[WindowWork], field_seed: int = 0) -> list[Image]:
        """The enlarged windows, (h * scale, w * scale, 3) in [0, 1], in order.

        ``works`` are of one level; ``field_seed`` names the noise of all levels for backbones that read noise by place. A result that is no
        picture (not finite, black, or flat where the input is not) is made again, from the third attempt on with another seed. Raises
        BackendError when ATTEMPTS fail, or when memory does not suffice for 24 pixels.
        """
        made = self._attempt(works, field_seed, [work.seed for work in works])
        for attempt in range(1, ATTEMPTS):
            faults = {n: why for n, work in enumerate(works) if (why := fault(made[n], work.image))}
            if not faults:
                break
            self.incidents += [Incident("redone", works[n].index, why) for n, why in faults.items()]
            # A passing failure is cured by the same seed; a model's own (half precision that overflows) needs another.
            seeds = [works[n].seed if attempt < 2 else derive(works[n].seed, "attempt", attempt) for n in faults]
            field = field_seed if attempt < 2 else derive(field_seed, "attempt", attempt)
            for n, again in zip(faults, self._attempt([works[n] for n in faults], field, seeds), strict=True):
                made[n] = again
        return [self._finished(result, work) for result, work in zip(made, works, strict=True)]

    def _finished(self, made: Image | BackendError, work: WindowWork) -> Image:
        if why := fault(made, work.image):
            level, row, column = work.index
            raise BackendError(f"window {column},{row} of level {level} failed {ATTEMPTS} times ({why}); try another --seed or preset")
        image = cast(Image, made)
        if self._how != "adain":
            return image
        return clip(adain(image, clip(resize(work.image, (image.shape[1], image.shape[0]), "bicubic"))))

    def _attempt(self, works: Sequence[WindowWork], field_seed: int, seeds: Sequence[int]) -> list[Image | BackendError]:
        """One try for each window; the backbone's own error stands for a picture that it could not make."""
        try:
            return list(self._call(works, field_seed, seeds))
        except MemoryError as error:
            raise BackendError(str(error)) from error
        except BackendError as error:
            if len(works) == 1:
                return [error]
        return [self._attempt([work], field_seed, [seed])[0] for work, seed in zip(works, seeds, strict=True)]

    def _call(self, works: Sequence[WindowWork], field_seed: int, seeds: Sequence[int]) -> list[Image]:
        while True:
            side = max(max(work.image.shape[:2]) for work in works)
            try:
                if self.limit is not None and side > self.limit:
                    return [self._split(work, field_seed, seed, self.limit) for work, seed in zip(works, seeds, strict=True)]
                return self._whole(works, field_seed, seeds)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if len(works) > 1:
                    return [self._call([work], field_seed, [seed])[0] for work, seed in zip(works, seeds, strict=True)]
                smaller = min(self.limit or side, side) // 2
                if smaller < _SMALLEST:
                    raise MemoryError(
                        f"memory does not suffice for windows of {_SMALLEST} px; close other programs or use another preset"
                    ) from error
                self.limit = smaller
                self.incidents.append(Incident("memory", works[0].index, f"out of memory: windows are split into parts of {smaller} px"))

    def _whole(self, works: Sequence[WindowWork], field_seed: int, seeds: Sequence[int]) -> list[Image]:
        if not isinstance(self.backbone, FieldBackbone):
            told = informed(self.backbone, works[0].evidence)
            return enlarge(told, [work.image for work in works], [work.prompt for work in works], seeds)
        return [self._one(work, work.image, (0, 0), field_seed, seed) for work, seed in zip(works, seeds, strict=True)]

    def _one(self, work: WindowWork, image: Image, at: tuple[int, int], field_seed: int, seed: int) -> Image:
        """A window, or the part of it whose top-left (x, y) is ``at``: with the noise of its place, or else with the seed."""
        backbone = informed(self.backbone, work.evidence)
        if isinstance(backbone, FieldBackbone):
            noise = NoiseField(field_seed, self.backbone.facts.scale / work.evidence)
            backbone = PlacedBackbone(backbone, noise, (work.origin[0] + at[0], work.origin[1] + at[1]))
        return enlarge(backbone, [image], [work.prompt], [seed])[0]

    def _split(self, work: WindowWork, field_seed: int, seed: int, limit: int) -> Image:
        """A window in parts, which share the seed or the field."""

        def one(part: Image, at: tuple[int, int]) -> Image:
            return self._one(work, np.ascontiguousarray(part), at, field_seed, seed)

        scale = self.backbone.facts.scale
        return upscale_placed(work.image, one, scale=scale, tile=limit, overlap=min(_OVERLAP, limit // 2), ramp=min(_RAMP, limit // 4))


def fault(made: Image | BackendError, given: Image) -> str:
    """Why ``made`` cannot be an enlargement of ``given``, or an empty string."""
    if isinstance(made, BackendError):
        return str(made)
    if not np.isfinite(made).all():
        return "not finite"
    if float(given.max()) < _DARK or float(given.std()) == 0:
        return ""
    zoom = made.shape[0] // given.shape[0]
    for low, high in zip(_blocks(given, _BLOCK), _blocks(made, _BLOCK * zoom), strict=True):
        if float(high.max()) < _BLACK and float(low.mean()) > _DARK:
            return "black"
        # Standard deviations, because a single bright pixel makes no picture of a flat one.
        if float(high.std()) < _FLAT and float(low.std()) > _TEXTURED:
            return "flat"
    return ""


def _blocks(image: Image, side: int) -> Iterator[Image]:
    """The picture in squares, the last ones as large as the rest allows."""
    rows, columns = (max(1, length // side) for length in image.shape[:2])
    for row in range(rows):
        for column in range(columns):
            yield image[
                row * side : None if row == rows - 1 else (row + 1) * side,
                column * side : None if column == columns - 1 else (column + 1) * side,
            ]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of numpy, torch, OpenVINO or ncnn says that memory ran out."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "out of device memory" in text
        or "bad_alloc" in text
        or "failed to allocate" in text
    )
