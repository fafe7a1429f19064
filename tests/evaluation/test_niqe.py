"""NIQE against two other implementations, and its sanity."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.niqe import niqe
from chainzoom.images import Image, clip, resize
from tests.conftest import GOLDEN, read8

EXPECTED = json.loads((GOLDEN / "niqe" / "expected.json").read_text())


@pytest.fixture(scope="module")
def cat() -> Image:
    return read8(GOLDEN / "geometry" / "0.png")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_other_implementations_agree_within_one_percent(name: str) -> None:
    image = read8(GOLDEN / "geometry" / name)
    assert niqe(image) == pytest.approx(EXPECTED[name]["pyiqa"], rel=0.01)
    assert niqe(image, "ycbcr") == pytest.approx(EXPECTED[name]["basicsr"], rel=0.0005)


def test_rises_with_noise_and_blur(cat: Image) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(cat.shape).astype(np.float32)
    noisy = [niqe(clip(cat + np.float32(sigma) * noise)) for sigma in (0.0, 0.1, 0.2, 0.4)]
    assert noisy == sorted(noisy)
    blurred = [niqe(cat)] + [niqe(clip(resize(resize(cat, (512 // k, 512 // k)), (512, 512)))) for k in (2, 4, 8)]
    assert blurred == sorted(blurred)
    assert noisy[-1] > 2 * noisy[0]
    assert blurred[-1] > 2 * blurred[0]


def test_a_flat_picture_has_no_figure() -> None:
    assert np.isnan(niqe(np.full((256, 256, 3), 0.5, np.float32)))


def test_four_flat_squares_still_have_one() -> None:
    squares = np.kron(np.array([[0.2, 0.8], [0.6, 0.4]], np.float32), np.ones((256, 256), np.float32))
    assert 20 < niqe(np.repeat(squares[..., None], 3, axis=2)) < 40


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(OptionError, match="at least two blocks"):
        niqe(np.zeros((100, 180, 3), np.float32))


def test_the_same_bytes_again(cat: Image) -> None:
    assert niqe(cat) == niqe(cat.copy())
