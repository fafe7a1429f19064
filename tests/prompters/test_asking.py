from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from chainzoom.errors import ImageError
from chainzoom.prompters.asking import RETRY_TEMPERATURE, Answer, Asking, Request
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.cache import AnswerCache


def view(value: float = 0.5, *, parent: bool = True, seed: int = 0, history: tuple[Prompt, ...] = ()) -> View:
    crop = np.full((4, 4, 3), value, np.float32)
    return View(parent=np.zeros((4, 4, 3), np.float32) if parent else None, crop=crop, scale=4, factor=4, history=history, seed=seed)


class Scripted:
    """Answers in the order written; remembers what it was asked."""

    def __init__(self, *texts: str | Answer) -> None:
        self.left, self.calls = [Answer(t) if isinstance(t, str) else t for t in texts], []

    def __call__(self, requests: list[Request]) -> list[Answer]:
        self.calls.append(list(requests))
        return [self.left.pop(0) for _ in requests]


def test_fit_answers_are_tidied_and_returned_in_order():
    model = Scripted("1. fur\n2. grass", "sky, sky, sea")
    prompts = Asking(model, "vlm", "m").describe([view(0.1), view(0.2, parent=False)])
    assert prompts == [Prompt("fur, grass", "vlm"), Prompt("sky, sea", "vlm")]
    two, one = model.calls[0]
    assert [image[0, 0, 0] for image in two.images] == [0, 26]  # 0.1 * 255 rounds to 26
    assert "second image" in two.question
    assert len(one.images) == 1
    assert one.question == "What is in this image? Give me a set of words."
    assert (two.temperature, two.seed) == (0, 0)


def test_an_unfit_answer_is_asked_again_once_with_another_seed():
    model = Scripted("the second image shows fur", "grass", "orange fur")
    first, second = Asking(model, "vlm", "m").describe([view(seed=5), view(0.9, seed=5)])
    assert first == Prompt("orange fur", "vlm", notes=("viewpoint phrase detected; asked again with another seed",))
    assert second == Prompt("grass", "vlm")
    ((retry,),) = model.calls[1:]
    assert retry.temperature == RETRY_TEMPERATURE
    assert retry.seed not in (0, 5)


def test_then_the_parents_prompt_is_used_and_the_record_says_so():
    history = (Prompt("old", "vlm"), Prompt("a cat", "vlm"))
    (prompt,) = Asking(Scripted("", "fur fur fur fur"), "vlm", "m").describe([view(history=history)])
    assert prompt == Prompt("a cat", "vlm", notes=("empty detected, then repetition with another seed; parent's prompt used",))
    (prompt,) = Asking(Scripted("", ""), "vlm", "m").describe([view()])
    assert prompt.text == ""
    assert "no earlier prompt" in prompt.notes[0]


def test_the_token_limit_and_the_prompt_limit_are_said_aloud():
    (prompt,) = Asking(Scripted(Answer("fur, grass, sk", cut=True)), "vlm", "m").describe([view()])
    assert prompt == Prompt("fur, grass", "vlm", notes=("the answer was stopped by the token limit",))
    (prompt,) = Asking(Scripted("a, b, c, d"), "vlm", "m", limit=3).describe([view()])
    assert prompt == Prompt("a, b", "vlm", notes=("cut from 7 to 3 tokens (limit 3)",))


def test_verbatim_hands_on_what_was_said():
    raw = "1. Fur\n2. Fur,"
    (prompt,) = Asking(Scripted(Answer(raw, cut=True)), "vlm", "m", verbatim=True).describe([view()])
    assert prompt.text == raw
    (prompt,) = Asking(Scripted("", "fur"), "vlm", "m", verbatim=True).describe([view()])
    assert prompt.text == "fur"


def test_equal_requests_are_asked_once_and_remembered(tmp_path):
    model = Scripted("fur", "grass", "sea")
    cache = AnswerCache(tmp_path / "c.sqlite")
    asking = Asking(model, "vlm", "m", cache=cache)
    assert [p.text for p in asking.describe([view(0.1), view(0.1), view(0.2)])] == ["fur", "fur", "grass"]
    assert [p.text for p in asking.describe([view(0.2), view(0.1, seed=3)])] == ["grass", "fur"]
    assert len(model.calls) == 1
    assert [p.text for p in Asking(model, "vlm", "other model", cache=cache).describe([view(0.1)])] == ["sea"]


def test_sampled_answers_depend_on_the_seed():
    model = Scripted("fur", "grass")
    asking = Asking(model, "vlm", "m", temperature=0.5)
    assert [p.text for p in asking.describe([view(seed=1), view(seed=2), view(seed=1)])] == ["fur", "grass", "fur"]
    assert [r.seed for r in model.calls[0]] == [1, 2]


def test_no_views_no_questions():
    model = Scripted()
    assert Asking(model, "vlm", "m").describe([]) == []
    assert model.calls == []


def test_only_colour_images():
    with pytest.raises(ImageError, match=r"\(4, 4\)"):
        Asking(Scripted(), "vlm", "m").describe([View(None, np.zeros((4, 4), np.float32), 4, 4)])


def test_the_prompters_import_without_heavy_packages():
    code = (
        "import sys, chainzoom.prompters.vlm, chainzoom.prompters.remote, chainzoom.prompters.dape\n"
        "print(*sorted({'torch', 'transformers', 'httpx', 'peft', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
