from __future__ import annotations

import re
from pathlib import Path

import pytest

import chainzoom.prompters
from chainzoom.sentences.plain import PLAIN, names_a_surface, surface_words, user_first


@pytest.mark.parametrize("prompt", ["", "light blue, sharp, low contrast", "soft background, grey, blurred", "a photo of the"])
def test_colours_and_measures_name_nothing(prompt: str) -> None:
    assert not names_a_surface(prompt)


@pytest.mark.parametrize("prompt", ["moss", "fur, tan, sharp", "light blue, sea", "Feathers"])
def test_any_other_word_names_something(prompt: str) -> None:
    assert names_a_surface(prompt)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("fur, tan, sharp, low contrast, cat, Egyptian cat", "cat fur"),
        ("light blue, smooth", ""),
        ("old wood planks, grey", "old wood planks"),
        ("brick, brick, grey", "brick"),
    ],
)
def test_words_for_surfaces_stay_when_measures_change(prompt: str, said: str) -> None:
    assert surface_words(prompt) == said


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [
        ("wood, grey, sharp, concrete,", "concrete, wood, grey, sharp"),
        ("wood, grey, concrete", "wood, grey, concrete"),
        ("moss,", "moss,"),
        ("moss", "moss"),
        ("", ""),
    ],
)
def test_a_closing_comma_marks_the_users_words(prompt: str, counts: str) -> None:
    assert user_first(prompt) == counts


def test_all_that_the_tagger_measures_is_plain() -> None:
    text = (Path(chainzoom.prompters.__path__[0]) / "measurements.py").read_text(encoding="utf-8")
    said = {word for phrase in re.findall(r'"([a-z][a-z -]*)"', text) for word in phrase.split()}
    assert {"blue", "sharp", "stripes"} <= said
    assert said <= PLAIN
