"""What a metric is: a name, a direction, a price for failing, and a function of one finished state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from chainzoom.images import Image

Better = Literal["lower", "higher", "one"]
"""Which way a figure gets better; ``one``: the closer to 1 the better."""

Needs = Literal["", "reference", "words", "rival"]
"""What a figure cannot be had without, beside the run itself: true pixels, a prompt, or the same run without words."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One state of one run, and what it may be compared with.

    image      the state (H, W, 3)
    scale      output pixels per pixel of state 0
    zoomed     the part of the previous state that it zooms into (h, w, 3), or None
    origin     the part of state 0 that it shows (h, w, 3), or None where that is less than a pixel
    reference  true pixels of the same view and size, or None; they exist at 4x only
    prompt     the words that steered it; None when nobody was asked for any
    rival      the same state steered by no words, all else equal, or None
    raw_db     PSNR in dB between the backbone's own output, before any correction, shrunk by the step, and what it zoomed into, or None
    """

    image: Image
    scale: float
    zoomed: Image | None = None
    origin: Image | None = None
    reference: Image | None = None
    prompt: str | None = None
    rival: Image | None = None
    raw_db: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure for a state.

    name      as on the command line and in tables
    label     for headings, with the unit
    better    which way it gets better
    failure   what a run that failed is charged: the paper's 100 for NIQE and 0 for the other scores of its table (facts of its code), and
              the worst possible value for ours
    measure   Sample -> figure; None where it does not apply to the state, NaN where the picture cannot be scored (a failure)
    about     one sentence for the page
    licence   of the code and weights behind it
    version   changes when the figures change: stored scores of another version are measured again
    digits    decimals in tables
    needs     see Needs
    """

    name: str
    label: str
    better: Better
    failure: float
    measure: Callable[[Sample], float | None]
    about: str
    licence: str = "Apache-2.0"
    version: str = "1"
    digits: int = 2
    needs: Needs = ""

    @property
    def arrow(self) -> str:
        """``↑``, ``↓`` or ``→1``."""
        return {"lower": "↓", "higher": "↑", "one": "→1"}[self.better]
