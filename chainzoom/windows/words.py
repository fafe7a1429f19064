"""Words for windows: asked for many at once, remembered, and inherited where the parent window's words still hold.

A window's parent is the window of the level below that weighs most at the middle of what it reads; the parents of level 1 are squares of
the photo, and theirs is the whole photo.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainzoom.images import Image, clip, resize
from chainzoom.prompters.base import Prompt, Prompter, View

INHERITED = "the words of the window above still hold"
"""Note of a prompt that nobody was asked for."""

_KEPT = 50_000
_SHIFT = 0.1
_SPREAD = 2.0
_FLAT = 0.02


def still_holds(parent: Image, crop: Image) -> bool:
    """Whether words for ``parent`` (H, W, 3) also fit a part of it, ``crop`` (h, w, 3), by what can be measured without a network.

    The mean colour must be within 0.1 in every channel and the spread of lightness within a factor of 2 (below 0.02 it counts as flat).
    """
    if float(np.abs(parent.mean((0, 1)) - crop.mean((0, 1))).max()) > _SHIFT:
        return False
    whole, part = (max(_FLAT, float(image.mean(2).std())) for image in (parent, crop))
    return 1 / _SPREAD <= part / whole <= _SPREAD


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A window that needs words: its key, its parent's key (None: nothing was said of it), and what is seen.

    parent and crop are (H, W, 3); crop at its own resolution, to be enlarged to ``shape`` = (width, height) for the prompter.
    ``always`` asks the prompter even where the words above seem to hold. ``place``: where in the parent the crop lies, as in ``View``.
    """

    key: tuple[int, ...]
    above: tuple[int, ...] | None
    parent: Image | None
    crop: Image
    shape: tuple[int, int]
    scale: float
    factor: float
    seed: int
    always: bool = False
    place: tuple[float, float, float, float] | None = None


class Words:
    """The words of every window that was asked about. A pure function of what is seen: forgetting costs time alone.

    inherit  False asks the prompter for every window
    """

    def __init__(self, prompter: Prompter, *, inherit: bool = True) -> None:
        self._prompter, self._inherit = prompter, inherit
        self._said: OrderedDict[tuple[int, ...], tuple[Prompt, tuple[Prompt, ...]]] = OrderedDict()
        self.asked = self.inherited = 0

    def __contains__(self, key: tuple[int, ...]) -> bool:
        return key in self._said

    def of(self, key: tuple[int, ...]) -> Prompt:
        """What was said of a window that was described before."""
        return self._said[key][0]

    def describe(self, windows: Sequence[Asked]) -> list[Prompt]:
        """The prompts of windows whose parents were described, in order, with one call to the prompter for those that need it."""
        found = {asked.key: self._kept_or_inherited(asked) for asked in windows}
        open_ = [asked for asked in {asked.key: asked for asked in windows}.values() if found[asked.key] is None]
        if open_:
            self.asked += len(open_)
            for asked, prompt in zip(open_, self._prompter.describe([self._view(asked) for asked in open_]), strict=True):
                found[asked.key] = prompt
        prompts = []
        for asked in windows:
            prompt = found[asked.key] or Prompt("", "null")
            if asked.key not in self._said:
                before = self._history(asked.above)
                self._said[asked.key] = (prompt, before if INHERITED in prompt.notes else (*before, prompt))
            prompts.append(prompt)
        while len(self._said) > _KEPT:
            self._said.popitem(last=False)
        return prompts

    def _kept_or_inherited(self, asked: Asked) -> Prompt | None:
        if asked.key in self._said:
            self._said.move_to_end(asked.key)
            return self._said[asked.key][0]
        above = self._said.get(asked.above) if asked.above is not None else None
        if (
            not self._inherit
            or asked.always
            or above is None
            or asked.parent is None
            or not above[0].text
            or not still_holds(asked.parent, asked.crop)
        ):
            return None
        self.inherited += 1
        return above[0] if INHERITED in above[0].notes else replace(above[0], notes=(*above[0].notes, INHERITED))

    def _history(self, above: tuple[int, ...] | None) -> tuple[Prompt, ...]:
        return self._said[above][1] if above is not None and above in self._said else ()

    def _view(self, asked: Asked) -> View:
        crop = clip(resize(asked.crop, asked.shape, "bicubic"))
        return View(asked.parent, crop, asked.scale, asked.factor, self._history(asked.above), asked.seed, asked.place)
