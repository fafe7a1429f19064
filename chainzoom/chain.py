"""The chain: x0 -> x1 -> ... -> xn, one backbone used again and again, each step steered by words (paper section 3).

    plan (regions.py)  ->  Course: a task for each state  ->  describe: words  ->  render: pixels (step.py)  ->  Step

The chain knows the protocols of backbones and prompters and nothing of disks, devices or progress bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.base import Backbone, TruncatingBackbone
from chainzoom.correctors.colour import Align
from chainzoom.course import Course, Task, Words
from chainzoom.images import Kernel
from chainzoom.photos import Photo
from chainzoom.prompters.base import Prompt, Prompter
from chainzoom.seeds import check_seed
from chainzoom.settings import INTERPOLATIONS, Mode, Protocol, Settings
from chainzoom.sources import ArraySource, Source
from chainzoom.step import Step, advance_all, interpolate
from chainzoom.weights import Weights


class Chain:
    """A configured zoom: a backbone that makes a step's pixels, a prompter (or None) that makes its words, and settings.

    The keyword arguments are those of ``Settings``. ``presets.load_preset("default").build()`` makes one from a name.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompter: Prompter | None = None,
        *,
        mode: Mode = "multiscale",
        user_prompt: str = "",
        align: Align = "none",
        consistency: float = 1.0,
        size: int = 512,
        protocol: Protocol = "native",
        step: str = "4",
    ) -> None:
        self.backbone, self.prompter = backbone, prompter
        self.settings = Settings(mode, user_prompt, align, consistency, size, protocol, step)

    def run(
        self,
        image: Source | str | PathLike[str] | NDArray[Any],
        *,
        at: tuple[float, float] = (0.5, 0.5),
        to: float = 256.0,
        seed: int = 0,
        done: Sequence[Step] = (),
    ) -> Iterator[Step]:
        """Yield the states from the whole photo to ``to``, each as soon as it is made.

        image  a path, a ``Photo`` or other Source, or an (H, W, 3) array in [0, 1]
        at     the point to zoom into, as fractions of width and height
        to     the scale to end at, exactly: output pixels per source pixel
        seed   the same seed gives the same bytes; another seed another invention
        done   the leading steps of an earlier run of the same zoom: they are not made or yielded again. Only the last one's pixels
               are used, so the others may carry an empty image.
        """
        course = self.course(image, at=at, to=to, seed=seed, done=done)
        return (step for task in course for step in self.render([(course, task)], self.describe([task])))

    def course(
        self,
        image: Source | str | PathLike[str] | NDArray[Any],
        *,
        at: tuple[float, float] = (0.5, 0.5),
        to: float = 256.0,
        seed: int = 0,
        done: Sequence[Step] = (),
    ) -> Course:
        """One image's way through the chain, to be driven with ``describe`` and ``render`` (``run`` and ``many.run_many`` do)."""
        check_seed(seed)
        source = as_source(image)
        looks = self.prompter is not None and getattr(self.prompter, "looks_at_photo", False)
        worded = self.prompter is not None and self.settings.mode not in INTERPOLATIONS
        return Course(source, self.settings, self.settings.plan(source, at, to), seed, worded, looks and worded, done)

    def describe(self, tasks: Sequence[Task]) -> list[Words]:
        """The words of each task: the prompter's, asked for all at once, with the user's appended."""
        start = perf_counter()
        views = [task.view for task in tasks if task.view is not None]
        given = iter(self.prompter.describe(views) if views and self.prompter else [])
        prompts = [next(given) if task.view is not None else Prompt("", "null") for task in tasks]
        seconds = (perf_counter() - start) / max(1, len(views))
        settings = self.settings
        steered = [task.work is not None and settings.mode not in INTERPOLATIONS for task in tasks]
        return [
            Words(
                self._with_cuts(with_user_words(prompt, settings.user_prompt, settings.protocol)) if steers else prompt,
                self.prompter.weights if task.view is not None and self.prompter else (),
                seconds if task.view is not None else 0.0,
            )
            for prompt, task, steers in zip(prompts, tasks, steered, strict=True)
        ]

    def _with_cuts(self, prompt: Prompt) -> Prompt:
        """The prompt with a note for every text encoder of the backbone that cannot see all of it."""
        lost = self.backbone.truncation(prompt.text) if isinstance(self.backbone, TruncatingBackbone) else {}
        notes = tuple(f"{encoder} does not see the last {count} tokens" for encoder, count in lost.items() if count)
        return replace(prompt, notes=prompt.notes + notes) if notes else prompt

    def render(self, tasks: Sequence[tuple[Course, Task]], words: Sequence[Words]) -> list[Step]:
        """The states of the tasks, in order; each course moves on to its next state."""
        settings = self.settings
        works = [replace(task.work, prompt=said.prompt.text) if task.work else None for (_, task), said in zip(tasks, words, strict=True)]
        real = [work for work in works if work is not None]
        if settings.mode in INTERPOLATIONS:
            made = [interpolate(work, cast(Kernel, settings.mode)) for work in real]
            maker, weights = str(settings.mode), tuple[Weights, ...]()
        else:
            direct = settings.mode == "onestep"
            made = advance_all(real, self.backbone, how=settings.align, strength=settings.consistency, direct=direct) if real else []
            maker, weights = self.backbone.facts.name, self.backbone.facts.weights
        rendered = iter(made)
        finished = [next(rendered) if work else None for work in works]
        return [
            course.accept(task, said, one, maker, one.choice.weights if one and one.choice else weights)
            for (course, task), said, one in zip(tasks, words, finished, strict=True)
        ]


def with_user_words(prompt: Prompt, user: str, protocol: Protocol) -> Prompt:
    """The prompt with the user's words, which come first; a prompt taken over from the parent already has them."""
    # The official code writes "auto, user," with a closing comma; the paper protocol keeps it because it reaches the text encoder.
    paper = protocol == "paper"
    if not user or (prompt.text.endswith(f"{user},") if paper else prompt.text.startswith(f"{user},")) or prompt.text == user:
        return prompt
    if not prompt.text:
        return replace(prompt, text=user, source="user")
    joined = f"{prompt.text}, {user}," if paper else f"{user}, {prompt.text}"
    return replace(prompt, text=joined, source=f"{prompt.source}+user")


def as_source(image: Source | str | PathLike[str] | NDArray[Any]) -> Source:
    """A Source from a path, an array, or a Source."""
    if isinstance(image, np.ndarray):
        return ArraySource.of(image)
    if isinstance(image, str | PathLike):
        return Photo.open(image)
    return image
