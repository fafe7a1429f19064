from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.backbones.interpolation import Bicubic
from chainzoom.chain import Chain
from chainzoom.errors import OptionError
from chainzoom.images import Image, from_uint, resize
from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.prompters.classifier import Box, Look
from chainzoom.prompters.tags import BACKGROUND, Tags
from chainzoom.prompters.vocabulary import class_names

GOLDEN = Path(__file__).parents[1] / "golden" / "tags"
EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"
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


Answer = Callable[[Image], dict[int, float]]


def sees(
    monkeypatch: pytest.MonkeyPatch,
    tags: Tags,
    answer: Answer,
    there: Callable[[Box], dict[int, float]] | None = None,
    surfaces: Callable[[Box | None], dict[str, float]] = lambda _: {},
) -> None:
    """Have the network see classes in pictures and in places, and the head surfaces in places (None: all of a picture)."""

    def vector(shown: dict[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        p = np.zeros(1000, np.float32)
        for number, value in shown.items():
            p[number] = value
        return p

    monkeypatch.setattr(tags._classifier, "look", lambda image: Look(vector(answer(image)), np.zeros((1, 1, 1), np.float32), ()))
    monkeypatch.setattr(tags._classifier, "there", lambda look, box: vector(there(box)) if there else look.probabilities)
    monkeypatch.setattr(tags._surfaces, "scores", lambda _middle, box=None, _least=0.0: surfaces(box))


def test_a_photo_of_a_cat(tags: Tags, cat: Image) -> None:
    (prompt,) = tags.describe([View(None, cat, 1.0, 1.0)])
    assert isinstance(tags, Prompter)
    assert prompt.source == "tags"
    assert {"cat", "fur"} <= {word for word, _ in prompt.tags}
    assert prompt.text == ", ".join(word for word, _ in prompt.tags)  # far from the surface: most certain first
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
    assert fur[-1] > 0.5
    assert fur[2] > fur[3] > fur[4]
    last = dict(history[-1].tags)
    assert last["fur"] > last.get("cat", 0)  # the deeper, the more the material says
    assert history[-1].text.startswith("fur, ")
    assert any(note.startswith("inherited: fur (seen at ") for note in history[-1].notes)


def test_material_outlives_the_name(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {})
    first = Prompt("", "tags", (("tabby cat", 0.8), ("cat", 0.8), ("fur", 0.8)), ("seen at 4x: tabby cat, cat, fur",))
    (prompt,) = tags.describe([View(cat, zoom(cat), 64.0, 4.0, (first,))])
    kept = {word: value for word, value in prompt.tags if word in ("tabby cat", "cat", "fur")}
    assert kept == {"fur": 0.776, "cat": 0.6, "tabby cat": 0.48}
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


LEFT, MIDDLE, RIGHT = (0.0, 0.4, 0.25, 0.6), (0.4, 0.4, 0.65, 0.6), (0.75, 0.4, 1.0, 0.6)


def beside(tags: Tags, scene: Image, place: Box) -> Prompt:
    """A step from a state whose cat is to the left."""
    past = (Prompt("", "tags", (("cat", 0.9), ("fur", 0.9)), ("seen at 1x: cat, fur",)),)
    return tags.describe([View(scene, np.full_like(scene, 0.4), 4.0, 4.0, past, 0, place)])[0]


def test_where_the_crop_lies_counts(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = cat.copy()
    scene[:, 360:] = 0.4  # smooth to the right, full of detail elsewhere
    sees(monkeypatch, tags, lambda image: {TABBY: 0.8} if image is scene else {}, lambda box: {TABBY: 0.8 if box[0] < 0.3 else 0.05})
    inside, outside, smooth = (beside(tags, scene, place) for place in (LEFT, MIDDLE, RIGHT))
    assert {"fur", "cat"} <= set(dict(inside.tags))
    assert not {"fur", "cat", "tabby cat"} & set(dict(outside.tags) | dict(smooth.tags))
    assert [BACKGROUND in dict(prompt.tags) for prompt in (inside, outside, smooth)] == [False, False, True]
    assert f"seen at 1x: {BACKGROUND}" in smooth.notes


def test_a_surface_at_the_place_overrules_the_layer(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier's last layer looks at what is typical of a cat, its face; fur on its back is fur nevertheless."""
    shown = {"fur": 0.6}
    sees(monkeypatch, tags, lambda image: {TABBY: 0.8} if image is cat else {}, lambda _: {TABBY: 0.05}, lambda _: shown)
    assert dict(beside(tags, cat, MIDDLE).tags)["fur"] > 0.8
    shown = {"grass": 0.6}
    found = dict(beside(tags, cat, MIDDLE).tags)
    assert "fur" not in found
    assert found["grass"] > 0.4


def test_surfaces_are_read_from_crops_not_from_whole_photos(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {}, None, lambda _: {"grass": 0.9})
    whole, deep = tags.describe([View(None, cat, 1.0, 1.0), View(None, zoom(cat), 4.0, 4.0)])
    assert "grass" not in whole.text
    assert dict(deep.tags)["grass"] > 0.4
    assert deep.notes == ("seen at 4x: grass",)


@pytest.mark.parametrize(("colour", "said", "unsaid"), [((0.7, 0.3, 0.7), "petals", "leaves"), ((0.3, 0.5, 0.2), "leaves", "petals")])
def test_leaves_in_a_flowers_colours_are_petals(
    tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch, colour: tuple[float, float, float], said: str, unsaid: str
) -> None:
    sees(monkeypatch, tags, lambda _: {}, None, lambda _: {"leaves": 0.9})
    tinted = np.clip(zoom(cat).mean(axis=2, keepdims=True) * 2 * np.array(colour, np.float32), 0, 1)
    (prompt,) = tags.describe([View(None, tinted, 4.0, 4.0)])
    assert dict(prompt.tags)[said] > 0.4
    assert unsaid not in dict(prompt.tags)
    # What pixels showed is carried on when nothing is left of them.
    (deep,) = tags.describe([View(None, zoom(zoom(zoom(tinted))), 256.0, 4.0, (prompt,))])
    assert said in dict(deep.tags)
    assert unsaid not in dict(deep.tags)


def test_from_16x_on_the_surface_leads(tags: Tags, cat: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    sees(monkeypatch, tags, lambda _: {})
    past = (Prompt("", "tags", (("cat", 0.9), ("fur", 0.5)), ("seen at 4x: cat, fur",)),)
    near, close = (tags.describe([View(None, np.full_like(cat, 0.5), scale, 4.0, past)])[0] for scale in (15.0, 16.0))
    assert near.text.index("cat") < near.text.index("fur")
    assert close.text.startswith("fur, grey, ")
    assert dict(close.tags) == dict(near.tags)


def words_of(prompts: list[Prompt]) -> list[set[str]]:
    return [set(dict(prompt.tags)) for prompt in prompts]


@pytest.mark.parametrize("at", [(0.5, 0.15), (0.15, 0.55)], ids=["forehead", "cheek"])
def test_fur_is_fur_down_to_256x(tags: Tags, at: tuple[float, float]) -> None:
    prompts = [step.prompt for step in Chain(Bicubic(), tags, size=512).run(EXAMPLE, at=at, to=256)]
    said = words_of(prompts)
    assert {"fur", "cat"} <= said[1]
    assert all("fur" in words for words in said)
    assert all(prompt.text.startswith("fur, ") for prompt in prompts[2:])
    assert "Egyptian cat" not in said[4]


def test_beside_the_cat_is_no_fur(tags: Tags) -> None:
    prompts = [step.prompt for step in Chain(Bicubic(), tags, size=512).run(EXAMPLE, at=(0.92, 0.25), to=256)]
    assert prompts[0].text.startswith("sharp, fur, cat")
    assert all(BACKGROUND in words for words in words_of(prompts)[1:])
    assert all(prompt.text.startswith(BACKGROUND) for prompt in prompts[2:])
    assert all(not {"fur", "cat", "Egyptian cat"} & words for words in words_of(prompts)[1:])


def test_limits_and_blur(cat: Image) -> None:
    crop = zoom(zoom(cat))
    past = (Prompt("", "tags", (("cat", 0.8), ("fur", 0.7)), ("seen at 4x: cat, fur",)),)
    few = Tags(limit=3, meaning=1, blur=False).describe([View(None, crop, 64.0, 4.0, past)])[0]
    assert len(few.tags) == 3
    assert {"cat", "fur"} & {word for word, _ in few.tags} == {"fur"}
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
    classifier, surfaces = tags.weights
    assert (classifier.licence, surfaces.licence) == ("Apache-2.0", "CC-BY-SA-4.0")
    assert (surfaces.name, len(surfaces.sha256)) == ("chainzoom-surfaces", 64)
