"""Views to prompts by way of questions and answers: what the local and the remote vision-language prompters share.

views -> requests -> [cache] -> answers -> fit?  yes: prompt
                                           no:   asked once more with another seed -> fit? -> prompt
                                                                                      else: the parent's prompt
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import ImageError
from chainzoom.images import Image, to_uint8
from chainzoom.prompters import quality
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.cache import AnswerCache, answer_key
from chainzoom.prompters.questions import prompt_question
from chainzoom.seeds import derive

RETRY_TEMPERATURE = 0.7
"""Sampling temperature of the second attempt; a greedy model would only repeat itself."""

PROMPT_LIMIT = 75
"""CLIP text encoders read 77 tokens, two of which mark start and end."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question: 8-bit images (previous state first), the wording, and how the answer is drawn (temperature 0: the likeliest words)."""

    images: tuple[NDArray[np.uint8], ...]
    question: str
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's words; ``cut`` when it was stopped by the token limit."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """How views become prompts.

    ask          answers requests, in order
    source       ``Prompt.source``
    model        everything about the model that shapes an answer, for the cache key
    temperature  of the first attempt; 0 is greedy
    limit        longest prompt in tokens, as ``count`` counts them
    verbatim     hand on fit answers as they came (the official code does), instead of tidied and without doubled or unfinished items
    """

    ask: Callable[[Sequence[Request]], list[Answer]]
    source: str
    model: str
    temperature: float = 0.0
    limit: int = PROMPT_LIMIT
    count: Callable[[str], int] = quality.signs
    verbatim: bool = False
    cache: AnswerCache = field(default_factory=AnswerCache)

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view, in order; equal requests are asked once."""
        answers = self._answers([self._request(view, self.temperature, view.seed) for view in views])
        faults = [quality.fault(quality.tidy(answer.text)) for answer in answers]
        again = [i for i, reason in enumerate(faults) if reason]
        warmer = max(self.temperature, RETRY_TEMPERATURE)
        second = self._answers([self._request(views[i], warmer, derive(views[i].seed, self.source, "again")) for i in again])
        retries = dict(zip(again, second, strict=True))
        return [
            self._second(view, reason, retries[i]) if reason else self._fit(answer, [])
            for i, (view, answer, reason) in enumerate(zip(views, answers, faults, strict=True))
        ]

    def _second(self, view: View, reason: str, answer: Answer) -> Prompt:
        """The prompt after a first answer that was not fit."""
        still = quality.fault(quality.tidy(answer.text))
        if not still:
            return self._fit(answer, [f"{reason} detected; asked again with another seed"])
        parent = view.history[-1].text if view.history else ""
        used = "parent's prompt used" if parent else "there is no earlier prompt, so none is used"
        return Prompt(parent, self.source, notes=(f"{reason} detected, then {still} with another seed; {used}",))

    def _fit(self, answer: Answer, notes: list[str]) -> Prompt:
        text = answer.text.strip() if self.verbatim else quality.tidy(answer.text)
        if answer.cut:
            notes = [*notes, "the answer was stopped by the token limit"]
            text = text if self.verbatim else quality.without_last(text)
        text, cut = quality.capped(text if self.verbatim else quality.deduplicated(text), self.limit, self.count)
        return Prompt(text, self.source, notes=tuple([*notes, cut] if cut else notes))

    def _request(self, view: View, temperature: float, seed: int) -> Request:
        images = (view.crop,) if view.parent is None else (view.parent, view.crop)
        return Request(tuple(_pixels(image) for image in images), prompt_question(len(images)), temperature, seed if temperature else 0)

    def _answers(self, requests: Sequence[Request]) -> list[Answer]:
        keys = [answer_key(self.model, r.question, r.images, temperature=r.temperature, seed=r.seed) for r in requests]
        known: dict[str, Answer] = {}
        asked: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            held = None if key in known or key in asked else self.cache.get(key)
            if held is not None:
                known[key] = Answer(str(held["text"]), bool(held["cut"]))
            elif key not in known:
                asked.setdefault(key, request)
        answers = self.ask(list(asked.values())) if asked else []
        for key, answer in zip(asked, answers, strict=True):
            known[key] = answer
            self.cache.put(key, {"text": answer.text, "cut": answer.cut})
        return [known[key] for key in keys]


def _pixels(image: Image) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"expected an image of shape (H, W, 3), got {image.shape}")
    return to_uint8(image)
