from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from safetensors.numpy import save_file

from chainzoom.errors import WeightsError
from chainzoom.images import Image, from_uint
from chainzoom.prompters.classifier import Classifier, part
from chainzoom.prompters.surfaces import FILE, REACH, Head, Surfaces, features, read_head
from chainzoom.prompters.vocabulary import scores

GOLDEN = Path(__file__).parents[1] / "golden" / "tags"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture(scope="module")
def cat() -> Image:
    return from_uint(np.asarray(PILImage.open(GOLDEN / "cat.jpg")))


def test_the_file_that_comes_with_the_package() -> None:
    head = Surfaces().head
    assert {"fur", "grass", "rock", "sand", "wood", "snow", "bark", "leaves"} <= set(head.materials)
    assert list(head.materials) == sorted(head.materials)
    assert head.kernel.shape == (len(head.materials) + 1, 928)
    assert FILE.stat().st_size < 300_000
    assert Surfaces().weights.licence == "CC-BY-SA-4.0"


def test_features_are_means_and_spreads_of_a_place() -> None:
    plane = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    whole = features((plane, plane[:1]))
    np.testing.assert_allclose(whole, [7.5, 23.5, *[plane[0].std()] * 2, 7.5, plane[0].std()], rtol=1e-6)
    np.testing.assert_allclose(features((plane,), (0.5, 0.0, 1.0, 0.5))[:2], [plane[0, :2, 2:].mean(), plane[1, :2, 2:].mean()])


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 9), (0, 9)),
        ((0.25, 0.5, 0.75, 1.0), (4, 9), (2, 7)),
        ((0.98, 0.0, 1.0, 0.01), (0, 2), (7, 9)),  # too small a place is widened, and stays inside
        ((0.5, 0.5, 0.5, 0.5), (4, 6), (4, 6)),
    ],
)
def test_places(box: tuple[float, float, float, float], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    plane = np.arange(81, dtype=np.float32).reshape(1, 9, 9)
    np.testing.assert_array_equal(part(plane, box)[0], plane[0, slice(*rows), slice(*columns)].ravel())


def test_what_was_never_seen_is_no_more_certain() -> None:
    head = Head(("a", "b"), np.eye(3, 4, dtype=np.float32), np.zeros(3, np.float32), np.ones(4, np.float32), np.full(4, 2, np.float32))
    edge, far = (1 + 2 * np.array([k, 0, 0, 0], np.float32) for k in (REACH, 100))
    np.testing.assert_array_equal(head.probabilities(far), head.probabilities(edge))
    p = head.probabilities(edge)
    assert p.shape == (2,)
    assert p[0] == pytest.approx(np.exp(3) / (np.exp(3) + 2))  # the third answer is none of these


def test_one_pass_gives_classes_and_surfaces(classifier: Classifier, cat: Image) -> None:
    look = classifier.look(cat)
    np.testing.assert_array_equal(look.probabilities, classifier.probabilities(cat))
    assert [plane.shape for plane in look.middle] == [(48, 33, 33), (88, 17, 17), (120, 17, 17), (208, 9, 9)]
    assert look.last.shape == (1280, 9, 9)
    # the last map over the whole picture leads to the same answer as the network's own last layers
    np.testing.assert_allclose(classifier.there(look, (0, 0, 1, 1)), look.probabilities, atol=1e-5)


def test_the_first_half_alone_agrees(classifier: Classifier, cat: Image) -> None:
    from chainzoom.prompters.classifier import prepare

    for a, b in zip(classifier.middle(prepare(cat)), classifier.look(cat).middle, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_last_map_knows_where(classifier: Classifier, cat: Image) -> None:
    """The cat, pasted into the left of a grey picture, is to the left."""
    scene = np.full((384, 384, 3), 0.5, np.float32)
    scene[96:288, :192] = cat
    look = classifier.look(scene)
    left, right = (scores(classifier.there(look, box), 0.0)["cat"] for box in ((0.1, 0.3, 0.4, 0.7), (0.7, 0.3, 1.0, 0.7)))
    assert left > 3 * right


def test_fur_on_a_cat(classifier: Classifier, cat: Image) -> None:
    look = classifier.look(cat[20:120, 20:172])
    found = Surfaces().scores(look.middle)
    assert max(found, key=lambda name: found[name]) == "fur"
    assert "fur" not in Surfaces().scores(classifier.look(np.full((64, 64, 3), 0.4, np.float32)).middle, least=0.3)


def test_files_that_are_no_head(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        _ = Surfaces(tmp_path / "absent").weights
    (tmp_path / "text").write_text("fur")
    with pytest.raises(WeightsError, match="no surface tagger"):
        read_head(tmp_path / "text")
    tensors = {name: np.zeros(5, np.float32) for name in ("bias", "centre", "spread")} | {"kernel": np.zeros((5, 7), np.float16)}
    save_file(tensors, tmp_path / "odd", metadata={"materials": "fur, rock"})
    with pytest.raises(WeightsError, match="2 materials do not go"):
        read_head(tmp_path / "odd")
    save_file(tensors, tmp_path / "nameless")
    with pytest.raises(WeightsError, match="no surface tagger"):
        read_head(tmp_path / "nameless")
