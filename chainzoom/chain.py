"""The chain: x0 -> x1 -> ... -> xn, one backbone used again and again, each step steered by words (paper section 3).

    plan (regions.py)  ->  for each planned state: photo pixels, or prompt + advance (step.py)  ->  Step

The chain knows the protocols of backbones and prompters and nothing of disks, devices or progress bars.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from time import perf_counter
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.backbones.base import Backbone
from chainzoom.correctors.colour import Align
from chainzoom.errors import OptionError
from chainzoom.images import Image, Kernel, clip, from_uint, frozen, resize, to_uint8
from chainzoom.photos import Photo
from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.regions import Move, Planned, check_size, paper_fit, plan_native, plan_paper
from chainzoom.seeds import check_seed, derive
from chainzoom.sources import ArraySource, Source
from chainzoom.step import Seconds, Step, advance, interpolate
from chainzoom.weights import Weights

Mode = Literal["multiscale", "recursive", "onestep", "bicubic", "nearest"]
Protocol = Literal["native", "paper"]
_BAND_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True)
class Settings:
    """How a chain runs, whatever its parts. Raises OptionError for a value that makes no sense.

    mode         ``multiscale``: the prompter sees the previous state and the crop (AR-2, the paper's method); ``recursive``: the crop
                 alone; ``onestep``: each state straight from the last real one in one backbone call; ``bicubic`` and ``nearest``:
                 each state straight from the last real one by interpolation
    user_prompt  words appended to the prompter's
    align        colour alignment to what is zoomed into: ``none``, ``adain``, ``wavelet``
    consistency  0 leaves the backbone's output, 1 makes it shrink back to what it zoomed into
    size         largest side of a state in pixels
    protocol     ``native``: real pixels as long as the photo has any; ``paper``: the official 512 px square and 4x steps
    """

    mode: Mode = "multiscale"
    user_prompt: str = ""
    align: Align = "none"
    consistency: float = 1.0
    size: int = 512
    protocol: Protocol = "native"

    def __post_init__(self) -> None:
        _one_of("--mode", self.mode, get_args(Mode))
        _one_of("--align", self.align, get_args(Align))
        _one_of("--protocol", self.protocol, get_args(Protocol))
        if not 0 <= self.consistency <= 1:
            raise OptionError(f"--consistency takes a number from 0 to 1; got {self.consistency:g}")
        check_size(self.size)

    def plan(self, source: Source, at: tuple[float, float] = (0.5, 0.5), to: float = 256.0) -> tuple[Planned, ...]:
        """Every state's scale, region and shape, before any pixel is made."""
        planner = plan_native if self.protocol == "native" else plan_paper
        return planner(source.width, source.height, at, to, self.size)


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
    ) -> None:
        self.backbone, self.prompter = backbone, prompter
        self.settings = Settings(mode, user_prompt, align, consistency, size, protocol)

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
        check_seed(seed)
        source = as_source(image)
        return self._steps(source, self.settings.plan(source, at, to), seed, done)

    def _steps(self, source: Source, plan: tuple[Planned, ...], seed: int, done: Sequence[Step]) -> Iterator[Step]:
        history = [step.prompt for step in done if _speaks(step)]
        first = len(done)
        parent = done[-1].image if done else None
        del done
        origin = [planned for planned in plan if planned.kind == "photo"][-1]
        direct = self.settings.mode not in ("multiscale", "recursive")
        if direct and first > origin.index:
            parent = self._photo(source, origin)
        for planned in plan[first:]:
            start = perf_counter()
            step_seed = derive(seed, source.sha256, "step", planned.index)
            if planned.kind == "photo" or parent is None:
                step = self._look(source, planned, parent, history, step_seed)
                parent = step.image
            else:
                move = _straight(origin, planned) if direct else cast(Move, planned.move)
                step = self._make(replace(planned, move=move), parent, history, step_seed)
                parent = parent if direct else step.image
            if _speaks(step):
                history.append(step.prompt)
            factor = planned.scale / plan[planned.index - 1].scale if planned.index else 1.0
            alpha = source.read_alpha(planned.region.as_tuple(), planned.shape)
            yield replace(step, factor=factor, alpha=alpha, seconds=replace(step.seconds, total=perf_counter() - start))

    def _look(self, source: Source, planned: Planned, parent: Image | None, history: Sequence[Prompt], seed: int) -> Step:
        """A state of real pixels, described where the prompter wants to see those too."""
        image = self._photo(source, planned)
        prompt, weights, start = Prompt("", "null"), tuple[Weights, ...](), perf_counter()
        if self.settings.mode == "multiscale" and self.prompter is not None and getattr(self.prompter, "looks_at_photo", False):
            prompt = self.prompter.describe([View(parent, image, planned.scale, 1.0, tuple(history), seed)])[0]
            weights = self.prompter.weights
        seconds = Seconds(prompt=perf_counter() - start)
        return Step(
            planned.index,
            planned.scale,
            1.0,
            planned.region,
            "photo",
            image,
            prompt=prompt,
            prompter_weights=weights,
            seconds=seconds,
        )

    def _photo(self, source: Source, planned: Planned) -> Image:
        if self.settings.protocol == "paper":
            return frozen(_paper_state(source, planned, self.settings.size))
        return frozen(source.read(planned.region.as_tuple(), planned.shape))

    def _make(self, planned: Planned, parent: Image, history: Sequence[Prompt], seed: int) -> Step:
        """A synthesised state from ``parent`` by the chain's mode."""
        move = cast(Move, planned.move)
        if self.settings.mode in ("nearest", "bicubic"):
            prompt, words = Prompt("", "null"), 0.0
            made = interpolate(parent, move, planned.shape, cast(Kernel, self.settings.mode))
            maker, weights, words_by = str(self.settings.mode), tuple[Weights, ...](), tuple[Weights, ...]()
        else:
            start = perf_counter()
            prompt = self._prompt(planned, parent, history, seed)
            words = perf_counter() - start
            made = advance(
                parent,
                move,
                planned.shape,
                self.backbone,
                prompt.text,
                seed,
                how=self.settings.align,
                strength=self.settings.consistency,
                direct=self.settings.mode == "onestep",
            )
            maker = self.backbone.facts.name
            weights, words_by = self.backbone.facts.weights, self.prompter.weights if self.prompter else ()
        return Step(
            planned.index,
            planned.scale,
            move.factor,
            planned.region,
            "synthesised",
            made.image,
            input=made.input,
            prompt=prompt,
            backbone=maker,
            weights=weights,
            prompter_weights=words_by,
            seed=seed,
            consistency=made.consistency,
            seconds=Seconds(prompt=words, sr=made.seconds),
        )

    def _prompt(self, planned: Planned, parent: Image, history: Sequence[Prompt], seed: int) -> Prompt:
        """The prompter's words for a step, with the user's appended."""
        prompt = Prompt("", "null")
        if self.prompter is not None:
            x0, y0, x1, y1 = cast(Move, planned.move).crop
            crop = clip(resize(parent[y0:y1, x0:x1], planned.shape, "bicubic", cast(Move, planned.move).box))
            both = self.settings.mode == "multiscale"
            view = View(
                parent if both else None, frozen(crop), planned.scale, cast(Move, planned.move).factor, tuple(history) if both else (), seed
            )
            prompt = self.prompter.describe([view])[0]
        if not self.settings.user_prompt:
            return prompt
        if not prompt.text:
            return replace(prompt, text=self.settings.user_prompt, source="user")
        # The official code writes "auto, user," with a closing comma; the paper protocol keeps it because it reaches the text encoder.
        joined = f"{prompt.text}, {self.settings.user_prompt}" + ("," if self.settings.protocol == "paper" else "")
        return replace(prompt, text=joined, source=f"{prompt.source}+user")


def as_source(image: Source | str | PathLike[str] | NDArray[Any]) -> Source:
    """A Source from a path, an array, or a Source."""
    if isinstance(image, np.ndarray):
        return ArraySource.of(image)
    if isinstance(image, str | PathLike):
        return Photo.open(image)
    return image


def _speaks(step: Step) -> bool:
    """Whether a step's prompt belongs to the history: every synthesised one, and real states that were described."""
    return step.kind == "synthesised" or bool(step.prompt.text)


def _one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(f"{option} takes one of {', '.join(allowed)}; got {value}")


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
