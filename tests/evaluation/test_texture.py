"""Detail, repetition and grid on pictures whose spectrum is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.fidelity import luma
from chainzoom.evaluation.metrics.texture import detail, grid_share, peak_share, repetition, spectral_ratio
from chainzoom.images import Image, clip, resize
from tests.conftest import GOLDEN, read8


@pytest.fixture(scope="module")
def cat() -> Image:
    return read8(GOLDEN / "geometry" / "0.png")


def fractal(power: float, seed: int = 0) -> NDArray[np.float64]:
    """A plane whose power falls with frequency to the given power."""
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None])
    frequency[0, 0] = 1
    white = np.fft.fft2(np.random.default_rng(seed).standard_normal((512, 512)))
    plane = np.fft.ifft2(white * frequency ** (-power / 2)).real
    return 0.5 + 0.15 * plane / plane.std()


def test_ratio_of_white_noise_is_one() -> None:
    assert spectral_ratio(0.5 + 0.5 * np.random.default_rng(0).standard_normal((512, 512))) == pytest.approx(1, abs=0.05)


def test_ratio_of_a_power_law_by_hand() -> None:
    # Means of f^-2 over the rings 1/4..1/2 and 1/64..1/8: ln 2 / (3/32) and ln 8 / (63/8192).
    expected = np.sqrt((np.log(2) / (3 / 32)) / (np.log(8) / (63 / 8192)))
    assert spectral_ratio(fractal(2)) == pytest.approx(expected, rel=0.05)


def test_detail_of_a_photo_is_near_one_and_of_an_enlargement_near_none(cat: Image) -> None:
    photo, enlarged = (detail(Sample(x, 4.0)) for x in (cat, clip(resize(cat[192:320, 192:320], (512, 512)))))
    assert photo is not None
    assert enlarged is not None
    assert 0.5 < photo < 2
    assert enlarged < 0.05


def test_detail_of_noise_is_too_much_and_of_nothing_none(cat: Image) -> None:
    noise = np.random.default_rng(0).standard_normal(cat.shape).astype(np.float32)
    noisy = detail(Sample(clip(cat + np.float32(0.2) * noise), 4.0))
    assert noisy is not None
    assert noisy > 4
    assert detail(Sample(np.full((512, 512, 3), 0.3, np.float32), 4.0)) == 0


def test_detail_of_invisible_contrast_is_little() -> None:
    faint = 0.5 + np.random.default_rng(0).standard_normal((512, 512, 1)).repeat(3, axis=2) / 255
    value = detail(Sample(faint.astype(np.float32), 4.0))
    assert value is not None
    assert value < 0.5


def test_repetition_finds_a_pattern_and_not_a_photo(cat: Image) -> None:
    tile = np.tile(cat[100:132, 100:132], (16, 16, 1))
    natural, pattern = (repetition(Sample(image, 4.0)) for image in (cat, tile))
    assert natural is not None
    assert pattern is not None
    assert natural < 0.01
    assert pattern > 0.2


def test_repetition_grows_with_the_pattern() -> None:
    y, x = np.mgrid[:512, :512]
    wave = np.sin(2 * np.pi * (x / 9 + y / 13))
    shares = [peak_share(fractal(2) + amplitude * wave) for amplitude in (0, 0.02, 0.08)]
    assert shares[0] < 0.001 < shares[1] < shares[2] / 3


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2])
def test_edges_do_not_repeat(angle: float) -> None:
    y, x = np.mgrid[:512, :512]
    edge = 1 / (1 + np.exp(-(np.cos(angle) * (x - 256) + np.sin(angle) * (y - 256)) / 3))
    assert peak_share(0.2 + 0.6 * edge + 0.05 * fractal(2)) < 0.01


def test_repetition_needs_256_pixels() -> None:
    with pytest.raises(OptionError, match="at least 256"):
        peak_share(np.zeros((200, 512)))


@pytest.mark.parametrize("period", [8, 16, 32])
def test_grid_finds_seams_and_their_period(period: int) -> None:
    plane = fractal(2.5)
    plane[:, ::period] += 0.05
    share, found = grid_share(plane)
    assert share > 0.5
    assert found == period


def test_grid_finds_jpeg_blocks(cat: Image) -> None:
    file = io.BytesIO()
    PILImage.fromarray((cat * 255).astype(np.uint8)).save(file, "JPEG", quality=8)
    with PILImage.open(file) as image:
        share, period = grid_share(luma(np.asarray(image, dtype=np.float32) / 255))
    assert share > 0.8
    assert period == 8


def test_grid_of_a_power_law_and_of_nothing_is_small() -> None:
    assert grid_share(fractal(2))[0] < 0.2
    assert grid_share(np.full((256, 256), 0.5)) == (0.0, 0)
