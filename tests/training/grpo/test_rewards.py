"""Rewards against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from chainzoom.errors import BackendError
from chainzoom.images import frozen
from chainzoom.prompters.asking import Answer, Request
from chainzoom.regions import Move
from chainzoom.training.grpo import rewards
from chainzoom.training.grpo.pairs import Pair
from chainzoom.training.grpo.rewards import RewardError, Sample, checked, score


def sample(text: str) -> Sample:
    parent = frozen(np.zeros((8, 8, 3), np.float32))
    move = Move(4.0, (0, 0, 2, 2), (0.0, 0.0, 2.0, 2.0))
    return Sample(text, Pair("p", parent, frozen(np.ones((8, 8, 3), np.float32)), move, (8, 8), 4.0, 0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # (orange fur texture) (fur texture orange) (texture orange fur) come round: 10 triples, 3 of them different.
        ("orange fur texture " * 4, -(1 - 3 / 10)),
        ("a b c d", 0.0),
        ("a b c a b c", -1 / 4),  # abc bca cab abc
        ("A b C a B c", -1 / 4),
        ("a a a a", -1 / 2),
        ("two words", 0.0),
        ("", 0.0),
    ],
)
def test_repetition(text: str, expected: float) -> None:
    (value,) = rewards.repetition([sample(text)])
    assert value == pytest.approx(expected)


def test_repetition_of_pairs() -> None:
    assert rewards.repetition([sample("a b a b")], n=2) == [pytest.approx(-1 / 3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("moss, stone", 1.0),
        ("The First  Image shows moss", 0.0),
        ("moss as in the second\nimage", 0.0),
        ("first, image", 1.0),
        ("", 1.0),
    ],
)
def test_phrase(text: str, expected: float) -> None:
    assert rewards.phrase([sample(text)]) == [expected]


def test_phrases_of_ones_own() -> None:
    assert rewards.phrase([sample("a zoomed in view"), sample("first image")], phrases=["Zoomed In"]) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("85", 85.0),
        (" 72.5\n", 72.5),
        ("90/100", 90.0),
        ("90 / 100.", 90.0),
        ("0", 0.0),
        ("100", 100.0),
        ("100.5", None),
        ("101", None),
        ("-5", None),
        ("85%", None),
        ("Rating: 85", None),
        ("85 because it fits", None),
        ("eighty", None),
        ("8 5", None),
        ("٨٥", None),
        ("", None),
    ],
)
def test_scores_are_read_strictly(answer: str, expected: float | None) -> None:
    assert score(answer) == expected


def test_critic_sees_both_images_and_the_words() -> None:
    asked: list[Request] = []

    def judge(requests: Sequence[Request]) -> list[Answer]:
        asked.extend(requests)
        return [Answer("40"), Answer("I like it")]

    assert rewards.critic([sample("moss"), sample("stone ")], judge=judge) == [0.4, None]
    assert [
        request.question.endswith(f"Description: {words} Rating (0-100):") for request, words in zip(asked, ("moss", "stone"), strict=True)
    ]
    assert all("Description: " in request.question and len(request.images) == 2 for request in asked)
    assert asked[0].images[0].max() == 0
    assert asked[0].images[1].min() == 255


def test_what_is_no_reward_is_refused() -> None:
    with pytest.raises(RewardError, match="'r' gave 0 values for 1 samples"):
        checked("r", lambda samples: [], [sample("a")])
    with pytest.raises(RewardError, match="'r' gave 'x'"):
        checked("r", lambda samples: ["x"], [sample("a")])  # type: ignore[list-item]
    with pytest.raises(RewardError, match="'r' gave nan"):
        checked("r", lambda samples: [float("nan")], [sample("a")])
    with pytest.raises(RewardError, match="'r' failed: ZeroDivisionError"):
        checked("r", lambda samples: [1 / 0], [sample("a")])
    assert checked("r", lambda samples: [1, None], [sample("a"), sample("b")]) == [1.0, None]


def test_a_servers_own_error_is_kept() -> None:
    def gone(samples: Sequence[Sample]) -> list[float | None]:
        raise BackendError("the server cannot be reached")

    with pytest.raises(BackendError, match="cannot be reached"):
        checked("critic", gone, [sample("a")])


def test_the_documented_examples_parse() -> None:
    from chainzoom.training.grpo.config import load_config

    for file in sorted((Path(__file__).parents[3] / "configs/train").glob("prompts*.toml")):
        config, text = load_config(file)
        assert config.lora.rank == 8
        assert text == file.read_text(encoding="utf-8")
