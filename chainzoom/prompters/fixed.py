"""The ``fixed`` prompter: the user's words, the same at every step."""

from __future__ import annotations

from collections.abc import Sequence

from chainzoom.errors import OptionError
from chainzoom.prompters.base import Prompt, View
from chainzoom.weights import Weights


class Fixed:
    """``text`` for every step, with surrounding blanks and line breaks taken away; raises OptionError when nothing is left."""

    name = "fixed"
    weights: tuple[Weights, ...] = ()

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        if not self.text:
            raise OptionError("fixed: expected some words, got an empty prompt; use the null prompter for no words")

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """The user's words, source ``user``, for each view."""
        return [Prompt(self.text, "user") for _ in views]
