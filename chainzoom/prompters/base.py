"""What the chain knows of a prompter: views in, prompts out.

A prompter is given the previous state, the crop that the step zooms into and the prompts so far (AR-2 and beyond: paper section 3.2),
and answers with the words that steer the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from chainzoom.images import Image
from chainzoom.weights import Weights


@dataclass(frozen=True, slots=True)
class Prompt:
    """Words for one step.

    text    what is handed to the backbone
    source  who wrote it: ``null``, ``user``, ``tags``, ``vlm``, ... (``tags+user`` when the user's words were appended)
    tags    (word, confidence in [0, 1]) pairs behind the text, most certain first; empty when the prompter has none
    notes   what a reader of the record must know, e.g. "repetition detected; parent's prompt used"
    """

    text: str
    source: str
    tags: tuple[tuple[str, float], ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class View:
    """What a prompter sees of one step.

    parent   the previous state (H, W, 3), or None in single-image mode (``recursive``)
    crop     the part of it that is zoomed into, enlarged by bicubic interpolation to the next state's size (H, W, 3)
    scale    output pixels per source pixel of the state about to be made
    factor   the zoom of this step
    history  the prompts of all earlier steps, oldest first
    seed     for prompters that sample
    place    where in the parent the crop lies: (left, top, right, bottom) in shares of its width and height; None when not known
    """

    parent: Image | None
    crop: Image
    scale: float
    factor: float
    history: tuple[Prompt, ...] = field(default=())
    seed: int = 0
    place: tuple[float, float, float, float] | None = None


@runtime_checkable
class Prompter(Protocol):
    """Turns views into prompts.

    A prompter whose class sets ``looks_at_photo = True`` is also shown the real-pixel states (parent None for the whole photo), so that
    what the photo plainly shows is in the history when the synthesised steps begin; others are asked for synthesised steps alone.
    """

    @property
    def name(self) -> str:
        """Registry name, e.g. ``tags``."""
        ...

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Weight files behind the words; empty for prompters without a network."""
        ...

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view, in order; views may be batched. Deterministic for the same views."""
        ...
