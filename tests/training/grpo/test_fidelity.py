"""The worked example of a reward of one's own: words that make the backbone stray from the pixels lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.chain import Chain
from chainzoom.correctors.consistency import consistency_db
from chainzoom.errors import OptionError
from chainzoom.images import Image, clip, resize
from chainzoom.training.grpo.critics import build_rewards, load_function
from chainzoom.training.grpo.pairs import PhotoPairs, list_photos
from chainzoom.training.grpo.rewards import Sample
from tests.training.grpo.tiny_run import photos

FILE = Path(__file__).parents[3] / "examples/rewards/fidelity.py"


class Obedient:
    """Bicubic, and as much brighter as the words are bright."""

    facts = BackboneFacts("obedient", 4, uses_prompt=True)

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        big = resize(image, (image.shape[1] * 4, image.shape[0] * 4), "bicubic")
        return clip(big + np.float32(0.1 * prompt.count("bright")))


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch):
    function = load_function(f"{FILE}:fidelity")
    monkeypatch.setitem(function.__globals__, "built", lambda preset: Chain(Obedient()))
    return function


def test_words_that_stray_lose(fidelity, tmp_path: Path) -> None:
    pair = PhotoPairs(list_photos([str(photos(tmp_path))]), 64, 0)[0]
    samples = [Sample(text, pair) for text in ("moss", "bright moss", "bright bright moss")]
    values = fidelity(samples, floor_db=10.0, ceiling_db=60.0)
    assert values[0] > values[1] > values[2]
    x0, y0, x1, y1 = pair.move.crop
    crop = pair.parent[y0:y1, x0:x1]
    decibels = consistency_db(Obedient().upscale(crop, "bright moss"), crop)
    assert samples[1].figures == {"consistency_db": pytest.approx(decibels)}
    assert values[1] == pytest.approx((decibels - 10) / 50)
    assert fidelity(samples[:1], floor_db=0.0, ceiling_db=1.0) == [1.0]
    assert fidelity(samples[2:], floor_db=100.0, ceiling_db=110.0) == [0.0]


def test_a_deaf_backbone_is_refused() -> None:
    (made,) = build_rewards({"fidelity": {"function": f"{FILE}:fidelity", "preset": "bicubic"}})
    with pytest.raises(OptionError, match="makes the same picture whatever the words"):
        made.function([])


def test_floor_and_ceiling(fidelity) -> None:
    with pytest.raises(OptionError, match="floor_db must be below ceiling_db"):
        fidelity([], floor_db=30.0, ceiling_db=30.0)
