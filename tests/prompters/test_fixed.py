from __future__ import annotations

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.prompters.fixed import Fixed


def test_says_the_users_words_at_every_step() -> None:
    view = View(None, np.zeros((8, 8, 3), np.float32), 4.0, 4.0)
    prompter = Fixed("  tabby\n fur ")
    assert isinstance(prompter, Prompter)
    assert prompter.describe([view, view]) == [Prompt("tabby fur", "user")] * 2
    assert prompter.weights == ()


@pytest.mark.parametrize("text", ["", " \n"])
def test_refuses_no_words(text: str) -> None:
    with pytest.raises(OptionError, match="expected some words"):
        Fixed(text)
