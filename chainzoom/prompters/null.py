"""The ``null`` prompter: no words."""

from __future__ import annotations

from collections.abc import Sequence

from chainzoom.prompters.base import Prompt, View
from chainzoom.weights import Weights


class Null:
    """An empty prompt for every step."""

    name = "null"
    weights: tuple[Weights, ...] = ()

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """An empty prompt, source ``null``, for each view."""
        return [Prompt("", self.name) for _ in views]
