from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainzoom.images import Image
from chainzoom.prompters.base import Prompt, View
from chainzoom.windows.words import INHERITED, Asked, Words, still_holds
from tests.conftest import natural

PARENT = natural(64, 64)


class Counting:
    name = "counting"
    weights = ()

    def __init__(self) -> None:
        self.calls: list[list[View]] = []

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        self.calls.append(list(views))
        return [Prompt(f"words {len(self.calls)}", "test") for _ in views]


def asked(number: int, crop: Image, above: tuple[int, ...] | None = None, parent: Image | None = PARENT) -> Asked:
    return Asked((1, 0, number), above, parent, crop, (64, 64), 4.0, 4.0, number)


def test_words_hold_for_what_looks_alike_and_not_for_what_does_not() -> None:
    assert still_holds(PARENT, PARENT[8:56, 8:56])
    assert not still_holds(PARENT, np.clip(PARENT + 0.3, 0, 1))
    flat = np.broadcast_to(PARENT.mean((0, 1)), (16, 16, 3))
    assert not still_holds(PARENT, flat)
    assert still_holds(flat, flat[:8])


def test_many_windows_are_one_call_and_are_asked_once() -> None:
    prompter = Counting()
    words = Words(prompter)
    windows = [asked(number, natural(16, 16, number)) for number in range(5)]
    words.describe(windows)
    assert [len(call) for call in prompter.calls] == [5]
    assert prompter.calls[0][0].crop.shape == (64, 64, 3)
    words.describe(windows[1:3])
    assert len(prompter.calls) == 1


def test_words_are_inherited_where_they_hold() -> None:
    prompter = Counting()
    words = Words(prompter)
    (parent,) = words.describe([asked(0, PARENT)])
    same, other = words.describe([asked(1, PARENT[8:56, 8:56], (1, 0, 0)), asked(2, 1 - PARENT * 0.2, (1, 0, 0))])
    assert (same.text, other.text) == (parent.text, "words 2")
    assert INHERITED in same.notes
    assert (words.asked, words.inherited) == (2, 1)
    assert [prompt.text for prompt in prompter.calls[1][0].history] == ["words 1"]
    (third,) = words.describe([asked(3, 1 - PARENT, (1, 0, 1))])
    assert third.text == "words 3"
    # What was inherited is not said twice.
    assert [prompt.text for prompt in prompter.calls[2][0].history] == ["words 1"]


def test_inheriting_can_be_forbidden() -> None:
    prompter = Counting()
    words = Words(prompter, inherit=False)
    words.describe([asked(0, PARENT)])
    words.describe([asked(1, PARENT, (1, 0, 0))])
    assert len(prompter.calls) == 2
