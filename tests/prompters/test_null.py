from __future__ import annotations

import numpy as np

from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.prompters.null import Null


def test_says_nothing() -> None:
    view = View(None, np.zeros((8, 8, 3), np.float32), 4.0, 4.0)
    prompter = Null()
    assert isinstance(prompter, Prompter)
    assert prompter.describe([view, view]) == [Prompt("", "null"), Prompt("", "null")]
    assert prompter.describe([]) == []
    assert prompter.weights == ()
