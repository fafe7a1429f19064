"""Prompt quality on the paper's own failures."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.words import repeated_words, viewpoint_phrase

BLANK = np.zeros((16, 16, 3), np.float32)


@pytest.mark.parametrize(("prompt", "share"), [("fur, whiskers, soft", 0.0), ("fur texture orange fur texture orange", 0.25), ("fur", 0.0)])
def test_repeated_triples(prompt: str, share: float) -> None:
    assert repeated_words(Sample(BLANK, 4.0, prompt=prompt)) == pytest.approx(share)


@pytest.mark.parametrize(("prompt", "said"), [("fur, whiskers", 0.0), ("The second image shows fur", 1.0)])
def test_viewpoint(prompt: str, said: float) -> None:
    assert viewpoint_phrase(Sample(BLANK, 4.0, prompt=prompt)) == said


@pytest.mark.parametrize("prompt", [None, ""])
def test_silence_is_not_measured(prompt: str | None) -> None:
    assert repeated_words(Sample(BLANK, 4.0, prompt=prompt)) is None
    assert viewpoint_phrase(Sample(BLANK, 4.0, prompt=prompt)) is None
