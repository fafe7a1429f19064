"""One image on its way through a chain: which state is next, what it grows from, and what has been said so far.

A Course hands out a Task for each state and takes back the words and pixels; who asks the prompter and the backbone, one by one or for
many images at once, is not its affair (``Chain.run``, ``many.run_many``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import cast

import numpy as np
from PIL import Image as PILImage

from chainzoom.images import Image, clip, from_uint, frozen, resize, to_uint8
from chainzoom.prompters.base import Prompt, View
from chainzoom.regions import Move, Planned, Region, paper_fit
from chainzoom.seeds import derive
from chainzoom.settings import CHAINED, Settings
from chainzoom.sources import Source
from chainzoom.step import Place, Rendered, Seconds, Step, Work
from chainzoom.weights import Weights

_BAND_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One state to be made: real pixels are there already (``image``), others are described by ``work``.

    ``view`` is what the prompter is to see, or None when nobody asks it; ``seconds`` were spent so far.
    """

    planned: Planned
    seed: int
    image: Image | None
    work: Work | None
    view: View | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Words:
    """A task's prompt, the weights behind it, and the seconds it took."""

    prompt: Prompt
    weights: tuple[Weights, ...]
    seconds: float


class Course:
    """One image's states in order; iterating gives the next Task, which must be accepted before the one after it."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        plan: tuple[Planned, ...],
        seed: int,
        worded: bool,
        looks_at_photo: bool,
        done: Sequence[Step] = (),
    ) -> None:
        self.source, self.settings, self.plan = source, settings, plan
        self._seed, self._worded = seed, worded
        self._looks = looks_at_photo and settings.mode == "multiscale"
        self._next = len(done)
        self._history = [step.prompt for step in done if _speaks(step)]
        self._origin = [planned for planned in plan if planned.kind == "photo"][-1]
        self._parent = done[-1].image if done else None
        if settings.mode not in CHAINED and self._next > self._origin.index:
            self._parent = self._read(self._origin)

    def __iter__(self) -> Iterator[Task]:
        """Tasks until the last state is accepted."""
        while self._next < len(self.plan):
            yield self._task(self.plan[self._next])

    def _task(self, planned: Planned) -> Task:
        start = perf_counter()
        seed = derive(self._seed, self.source.sha256, "step", planned.index)
        if planned.kind == "photo" or self._parent is None:
            image = self._read(planned)
            place = _share(self.plan[planned.index - 1].region, planned.region) if planned.index else None
            view = View(self._parent, image, planned.scale, 1.0, tuple(self._history), seed, place) if self._looks else None
            return Task(planned, seed, image, None, view, perf_counter() - start)
        chained = self.settings.mode in CHAINED
        move = cast(Move, planned.move) if chained else _straight(self._origin, planned)
        parent = self.plan[planned.index - 1] if chained else self._origin
        work = Work(
            self._parent,
            move,
            planned.shape,
            seed=seed,
            evidence=self._evidence(planned.scale / move.factor),
            place=self._place(parent),
        )
        return Task(planned, seed, None, work, self._view(planned, work) if self._worded else None, perf_counter() - start)

    def _place(self, state: Planned) -> Place:
        """Of a state. Counted from the last real one, so that rounding is the same at every depth and grids that agree stay in step."""
        origin: list[int] = []
        for axis in (0, 1):
            (start, unit), (value, own) = (_grid(planned, axis) for planned in (self._origin, state))
            origin.append(round(round(start / unit) * unit / own + (value - start) / own))
        return Place(derive(self._seed, self.source.sha256, "field"), (origin[0], origin[1]), state.scale)

    def _evidence(self, scale: float) -> float:
        """Photo pixels to a pixel of the state at ``scale``, along one axis; the last real state has one, or less where it is enlarged."""
        origin = self._origin
        return min(1.0, origin.region.width / origin.shape[0]) * min(1.0, origin.scale / scale)

    def _view(self, planned: Planned, work: Work) -> View:
        x0, y0, x1, y1 = work.move.crop
        crop = frozen(clip(resize(work.parent[y0:y1, x0:x1], work.shape, "bicubic", work.move.box)))
        if self.settings.mode != "multiscale":
            return View(None, crop, planned.scale, work.move.factor, (), work.seed)
        left, top, right, bottom = work.move.box
        width, height = work.parent.shape[1], work.parent.shape[0]
        place = ((x0 + left) / width, (y0 + top) / height, (x0 + right) / width, (y0 + bottom) / height)
        return View(work.parent, crop, planned.scale, work.move.factor, tuple(self._history), work.seed, place)

    def accept(self, task: Task, words: Words, made: Rendered | None, maker: str, weights: tuple[Weights, ...]) -> Step:
        """The finished state; ``made`` is None for real pixels."""
        start = perf_counter()
        planned = task.planned
        before = self.plan[planned.index - 1].scale if planned.index else planned.scale
        step = Step(
            planned.index,
            planned.scale,
            planned.scale / before,
            planned.region,
            "photo" if made is None else "synthesised",
            cast(Image, task.image) if made is None else made.image,
            alpha=self.source.read_alpha(planned.region.as_tuple(), planned.shape),
            prompt=words.prompt,
            prompter_weights=words.weights,
            seconds=Seconds(words.seconds),
        )
        if made is not None:
            step = replace(step, input=made.input, backbone=maker, weights=weights, seed=task.seed)
            step = replace(step, consistency=made.consistency, choice=made.choice)
        if made is None or self.settings.mode in CHAINED:
            self._parent = step.image
        if _speaks(step):
            self._history.append(step.prompt)
        self._next += 1
        sr = made.seconds if made else 0.0
        return replace(step, seconds=Seconds(words.seconds, sr, task.seconds + words.seconds + sr + perf_counter() - start))

    def _read(self, planned: Planned) -> Image:
        if self.settings.protocol == "paper":
            return frozen(_paper_state(self.source, planned, self.settings.size))
        return frozen(self.source.read(planned.region.as_tuple(), planned.shape))


def _grid(planned: Planned, axis: int) -> tuple[float, float]:
    """Where a state begins along an axis, and how far its pixels are apart, in source pixels."""
    region = planned.region
    start, extent = ((region.x0, region.width), (region.y0, region.height))[axis]
    return start, extent / planned.shape[axis]


def _speaks(step: Step) -> bool:
    """Whether a step's prompt belongs to the history: every synthesised one, and real states that were described."""
    return step.kind == "synthesised" or bool(step.prompt.text)


def _share(whole: Region, part: Region) -> tuple[float, float, float, float]:
    """Where a part lies, in shares of the whole's width and height."""
    return (
        (part.x0 - whole.x0) / whole.width,
        (part.y0 - whole.y0) / whole.height,
        (part.x1 - whole.x0) / whole.width,
        (part.y1 - whole.y0) / whole.height,
    )


def _straight(origin: Planned, planned: Planned) -> Move:
    """The move from the last real state to a deep one in a single step."""
    sx, sy = origin.shape[0] / origin.region.width, origin.shape[1] / origin.region.height
    x0, x1 = ((x - origin.region.x0) * sx for x in (planned.region.x0, planned.region.x1))
    y0, y1 = ((y - origin.region.y0) * sy for y in (planned.region.y0, planned.region.y1))
    left, top, right, bottom = (_snap(v) for v in (x0, y0, x1, y1))
    crop = (math.floor(left), math.floor(top), min(origin.shape[0], math.ceil(right)), min(origin.shape[1], math.ceil(bottom)))
    box = (left - crop[0], top - crop[1], min(right, crop[2]) - crop[0], min(bottom, crop[3]) - crop[1])
    return Move(planned.scale / origin.scale, crop, box)


def _snap(value: float) -> float:
    """Undo float noise around whole pixels."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 else value


def _paper_state(source: Source, planned: Planned, size: int) -> Image:
    """State 0 as the official code makes it: an 8-bit Lanczos resize and a square cut. Rows are narrowed in bands to save memory."""
    width, height = paper_fit(source.width, source.height, size)
    rows = max(1, _BAND_PIXELS // source.width)
    narrow = PILImage.new("RGB", (width, source.height))
    for top in range(0, source.height, rows):
        bottom = min(source.height, top + rows)
        band = source.read((0.0, float(top), float(source.width), float(bottom)), (source.width, bottom - top))
        narrow.paste(PILImage.fromarray(to_uint8(band)).resize((width, bottom - top), PILImage.Resampling.LANCZOS), (0, top))
    left = round(planned.region.x0 * width / source.width)
    top = round(planned.region.y0 * height / source.height)
    square = narrow.resize((width, height), PILImage.Resampling.LANCZOS).crop((left, top, left + size, top + size))
    return from_uint(np.asarray(square))
