"""What words are worth: every reward as a plain function from samples to numbers, or None where it cannot say.

R = 1.0 critic + 0.5 phrase + 0.5 repetition (paper section 3.3). A None is an abstention: the trainer leaves that reward out for that
sample, so that it neither helps nor hurts it.

A reward of your own has the same form, ``def mine(samples, *, option=...) -> list[float | None]``, and is named in the configuration as
``function = "module:mine"`` or ``"path/to/file.py:mine"``; its options come from its table there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chainzoom.errors import ChainzoomError
from chainzoom.prompters import quality
from chainzoom.prompters.asking import Answer, Request
from chainzoom.prompters.questions import critic_question
from chainzoom.training.grpo.pairs import Pair

PHRASES = ("first image", "second image")
"""The paper names these two and more that it does not publish."""

_SCORE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)(?:\s*/\s*100)?\.?")


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to a pair, to be rewarded. A reward may leave ``figures`` (name to number) that are to be logged beside it."""

    text: str
    pair: Pair
    figures: dict[str, float] = field(default_factory=dict)


Reward = Callable[[Sequence[Sample]], list[float | None]]
Judge = Callable[[Sequence[Request]], list[Answer]]
"""Answers questions about images: ``VLM.answers``, ``Remote.answers``, or anything like them."""


def critic(samples: Sequence[Sample], *, judge: Judge) -> list[float | None]:
    """What a vision-language model thinks of each description of the second image, from 0 to 1; None where it gives no score."""
    answers = judge([Request(sample.pair.images, critic_question(sample.text), 0.0, 0) for sample in samples])
    scores = [score(answer.text) for answer in answers]
    return [None if value is None else value / 100 for value in scores]


def phrase(samples: Sequence[Sample], *, phrases: Sequence[str] = PHRASES) -> list[float | None]:
    """1 for an answer without any of the phrases, 0 for one with; capitals and the kind of blanks do not matter."""
    banned = [_plain(one) for one in phrases]
    return [0.0 if any(one in _plain(sample.text) for one in banned) else 1.0 for sample in samples]


def repetition(samples: Sequence[Sample], *, n: int = 3) -> list[float | None]:
    """Minus the share of repeated n-grams: 0 for an answer that never repeats itself (or is shorter than n words), down to nearly -1."""
    return [0.0 - quality.repetition(sample.text, n) for sample in samples]


def score(answer: str) -> float | None:
    """The number of an answer that is nothing but a number from 0 to 100 (``85``, ``72.5``, ``90/100``); None for anything else."""
    match = _SCORE.fullmatch(answer.strip())
    value = float(match[1]) if match else -1.0
    return value if 0 <= value <= 100 else None


def checked(name: str, reward: Reward, samples: Sequence[Sample]) -> list[float | None]:
    """The reward's values, made sure of: one for each sample, finite or None. Raises RewardError naming the reward."""
    try:
        values = list(reward(samples))
    except ChainzoomError:
        raise
    except Exception as error:
        raise RewardError(f"the reward '{name}' failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    if len(values) != len(samples):
        raise RewardError(f"the reward '{name}' gave {len(values)} values for {len(samples)} samples; it must give one for each")
    made: list[float | None] = []
    for value in values:
        number = None if value is None else _number(name, value)
        made.append(number)
    return made


class RewardError(ChainzoomError):
    """A reward function failed or gave what is no reward."""

    exit_code = 1


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if number - number != 0:
        raise RewardError(f"the reward '{name}' gave {value!r}; it must give finite numbers, or None where it cannot say")
    return number


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
