from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import OptionError
from chainzoom.images import Image, from_uint, resize
from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.prompters.tags import Tags
from chainzoom.prompters.vocabulary import class_names

GOLDEN = Path(__file__).parents[1] / "golden" / "tags"
TABBY, SPANIEL = class_names().index("tabby cat"), class_names().index("cocker spaniel")


@pytest.fixture(scope="module")
def tags() -> Tags:
    return Tags()


@pytest.fixture(scope="module")
def cat() -> Image:
    """A 512-pixel state of real pixels' making: 192 of them across."""
    return np.clip(resize(from_uint(np.asarray(PILImage.open(GOLDEN / "cat.jpg"))), (512, 512)), 0, 1)


def zoom(image: Image, factor: int = 4) -> Image:
    """The centre, enlarged by bicubic interpolation to the same size."""
    size = image.shape[0]
    lo, hi = (size - size // factor) // 2, (size + size // factor) // 2
    return np.clip(resize(image, (size, size), box=(lo, lo, hi, hi)), 0, 1)


def sees(monkeypatch: pytest.MonkeyPatch, tags: Tags, answer: Callable[[Image], dict[int, float]]) -> None:
    def probabilities(image: Image) -> NDArray[np.float32]:
        p = np.zeros(1000, np.float32)
        for number, value in answer(image).items():
            p[number] = value
        return p

    monkeypatch.setattr(tags._classifier, "probabilities", probabilities)


def test_a_photo_of_a_cat(tags: Tags, cat: Image) -> None:
    (prompt,) = tags.describe([View(None, cat, 1.0, 1.0)])
    assert isinstance(tags, Prompter)
    assert prompt.source == "tags"
    assert {"cat", "fur"} <= {word for word, _ in prompt.tags}
    assert prompt.text == ", ".join(word for word, _ in prompt.tags)
    assert any(note.startswith("seen at 1x: ") and "cat" in note for note in prompt.notes)


def test_confidences_are_sorted_rounded_and_bounded(tags: Tags, cat: Image) -> None:
    (prompt,) = tags.describe([View(None, cat, 1.0, 1.0)])
    values = [value for _, value in prompt.tags]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 and round(value, 4) == value for value in values)
    assert len({word for word, _ in prompt.tags}) == len(values) <= 9


def test_meaning_survives_to_256x_and_fades(tags: Tags, cat: Image) -> None:
    state, scale = cat, 1.0
    history = tuple(tags.describe([View(None, cat, scale, 1.0)]))
    for _ in range(4):
        crop, scale = zoom(state), scale * 4
        history = (*history, *tags.describe([View(state, crop, scale, 4.0, history)]))
        state = crop
    fur = [dict(prompt.tags)["fur"] for prompt in history]
    assert scale == 256
    assert fur[-1] > 0.3
    assert fur[2] > fur[3] > fur[4]
    last = dict(history[-1].tags)
    assert last["fur"] > last["cat"]  # the deeper, the more the material says
    assert any(note.startswith("inherited: fur (seen at ") for note in history[-1].notes)


def test_material_outlives_the_name(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {})
    first = Prompt("", "tags", (("tabby cat", 0.8), ("cat", 0.8), ("fur", 0.8)), ("seen at 4x: tabby cat, cat, fur",))
    (prompt,) = tags.describe([View(cat, zoom(cat), 64.0, 4.0, (first,))])
    kept = {word: value for word, value in prompt.tags if word in ("tabby cat", "cat", "fur")}
    assert kept == {"fur": 0.76, "cat": 0.72, "tabby cat": 0.64}
    assert prompt.notes == ("inherited: fur (seen at 4x)", "inherited: cat (seen at 4x)", "inherited: tabby cat (seen at 4x)")


def test_notes_carry_the_first_scale_on(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {})
    old = Prompt("", "tags+user", (("fur", 0.5),), ("inherited: fur (seen at 0.2667x)",))
    (prompt,) = tags.describe([View(None, zoom(cat), 64.0, 4.0, (old, Prompt("a vase", "vlm", (("vase", 1.0),))))])
    assert "inherited: fur (seen at 0.2667x)" in prompt.notes
    assert "vase" not in prompt.text


def test_the_classifier_is_not_believed_without_pixels(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {TABBY: 0.9})
    for scale, crop in ((256.0, cat), (1.0, zoom(zoom(zoom(cat))))):  # too few source pixels; too few measured ones
        (prompt,) = tags.describe([View(None, crop, scale, 4.0)])
        assert "cat" not in prompt.text
        assert prompt.notes == ()


def test_an_unsure_classifier_says_nothing(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {TABBY: 0.2, SPANIEL: 0.15})
    (prompt,) = tags.describe([View(None, cat, 1.0, 1.0)])
    assert prompt.notes == ()
    assert prompt.tags  # the measurements remain


def test_the_previous_state_counts_but_less(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda image: {TABBY: 0.8} if image.shape[0] == 512 else {})
    view = View(cat, zoom(cat), 16.0, 4.0)
    (both,) = tags.describe([view])
    assert 0.3 < dict(both.tags)["fur"] < 0.64
    assert both.notes[0].startswith("seen at 4x: ")
    (alone,) = tags.describe([View(None, view.crop, 16.0, 4.0)])
    assert "fur" not in alone.text


def test_a_crop_that_shows_something_else_casts_doubt(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    past = (Prompt("", "tags", (("cat", 0.8),), ("seen at 0.25x: cat",)),)

    def cat_after(shown: dict[int, float]) -> float:
        sees(monkeypatch, tags, lambda _: shown)
        return dict(tags.describe([View(None, cat, 1.0, 1.0, past)])[0].tags)["cat"]

    assert cat_after({TABBY: 0.2}) == 0.8
    assert 0.4 <= cat_after({SPANIEL: 0.9}) < 0.5


def test_deterministic_and_independent_of_the_batch(tags: Tags, cat: Image) -> None:
    views = [View(cat, zoom(cat), 4.0, 4.0), View(None, cat[::-1].copy(), 1.0, 1.0)]
    together = tags.describe(views)
    assert together == [tags.describe([view])[0] for view in reversed(views)][::-1] == Tags(threads=1).describe(views)
    assert tags.describe([]) == []


def test_limits_and_blur(cat: Image) -> None:
    crop = zoom(zoom(cat))
    past = (Prompt("", "tags", (("cat", 0.8), ("fur", 0.7)), ("seen at 4x: cat, fur",)),)
    few = Tags(limit=3, meaning=1, blur=False).describe([View(None, crop, 64.0, 4.0, past)])[0]
    assert len(few.tags) == 3
    assert {"cat", "fur"} & {word for word, _ in few.tags} == {"cat"}
    assert "blurred" in dict(few.tags)
    assert "blurred" not in few.text
    with pytest.raises(OptionError, match="meaning=4, limit=2"):
        Tags(limit=2)


@pytest.mark.parametrize("size", [(16, 16), (20, 512), (300, 40)])
def test_any_size(tags: Tags, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    assert tags.describe([View(image, image, 4.0, 4.0)])[0].tags


def test_needs_no_torch_and_loads_lazily() -> None:
    code = "import sys; from chainzoom.prompters.tags import Tags; Tags(); print({'torch', 'openvino'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_weights(tags: Tags) -> None:
    (weights,) = tags.weights
    assert weights.licence == "Apache-2.0"
