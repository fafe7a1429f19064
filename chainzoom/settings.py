"""How a chain runs, whatever its parts: the choices a user has, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chainzoom.correctors.colour import Align
from chainzoom.errors import OptionError
from chainzoom.regions import Planned, check_size, plan_native, plan_paper, step_factors
from chainzoom.sources import Source

Mode = Literal["multiscale", "recursive", "onestep", "bicubic", "nearest"]
Protocol = Literal["native", "paper"]
INTERPOLATIONS: tuple[Mode, ...] = ("bicubic", "nearest")
"""Modes that need no backbone."""

CHAINED: tuple[Mode, ...] = ("multiscale", "recursive")
"""Modes in which a state grows from the one before; in the others each grows from the last real one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a chain runs. Raises OptionError for a value that makes no sense.

    mode         ``multiscale``: the prompter sees the previous state and the crop (AR-2, the paper's method); ``recursive``: the crop
                 alone; ``onestep``: each state straight from the last real one in one backbone call; ``bicubic`` and ``nearest``:
                 each state straight from the last real one by interpolation
    user_prompt  words that come before the prompter's; after them, as in the official code, under ``paper``
    align        colour alignment to what is zoomed into: ``none``, ``adain``, ``wavelet``
    consistency  0 leaves the backbone's output, 1 makes it shrink back to what it zoomed into
    size         largest side of a state in pixels
    protocol     ``native``: real pixels as long as the photo has any; ``paper``: the official 512 px square and 4x steps
    step         zoom of the synthesised steps, taken in turn: ``4``, or for example ``2`` or ``4,2``; ``auto``: what measured best, 4
    """

    mode: Mode = "multiscale"
    user_prompt: str = ""
    align: Align = "none"
    consistency: float = 1.0
    size: int = 512
    protocol: Protocol = "native"
    step: str = "4"

    def __post_init__(self) -> None:
        _one_of("--mode", self.mode, get_args(Mode))
        _one_of("--align", self.align, get_args(Align))
        _one_of("--protocol", self.protocol, get_args(Protocol))
        if not 0 <= self.consistency <= 1:
            raise OptionError(f"--consistency takes a number from 0 to 1; got {self.consistency:g}")
        check_size(self.size)
        step_factors(self.step)

    def plan(self, source: Source, at: tuple[float, float] = (0.5, 0.5), to: float = 256.0) -> tuple[Planned, ...]:
        """Every state's scale, region and shape, before any pixel is made."""
        planner = plan_native if self.protocol == "native" else plan_paper
        return planner(source.width, source.height, at, to, self.size, step_factors(self.step))


def _one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(f"{option} takes one of {', '.join(allowed)}; got {value}")
