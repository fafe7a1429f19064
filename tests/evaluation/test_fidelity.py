"""PSNR and SSIM by hand, and the refusal to judge what nobody knows."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.fidelity import CAP_DB, luma, psnr, similarity, ssim
from tests.conftest import natural


def test_psnr_by_hand() -> None:
    image = np.full((16, 16, 3), 0.5, np.float32)
    assert psnr(Sample(image, 4.0, reference=image + np.float32(0.1))) == pytest.approx(20.0, abs=1e-4)
    assert psnr(Sample(image, 4.0, reference=image)) == CAP_DB


def test_ssim_of_flat_planes_is_its_luminance_term() -> None:
    a, b = np.full((20, 20), 0.4), np.full((20, 20), 0.6)
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert similarity(a, b) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_one_window_by_hand() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((11, 11)), rng.random((11, 11))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(taps, taps) / taps.sum() ** 2
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, both = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
    expected = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert similarity(a, b) == pytest.approx(expected, rel=1e-9)


def test_ssim_is_one_for_equal_and_falls_with_noise() -> None:
    image = natural(64, 64)
    rng = np.random.default_rng(0)
    values = [
        ssim(Sample(image, 4.0, reference=image + np.float32(s) * rng.standard_normal(image.shape).astype(np.float32)))
        for s in (0, 0.02, 0.1)
    ]
    assert values[0] == pytest.approx(1.0)
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_deeper_than_four_times_is_refused(metric: object) -> None:
    image = natural(32, 32)
    with pytest.raises(OptionError, match=r"16x: no ground truth exists deeper"):
        metric(Sample(image, 16.0, reference=image))  # type: ignore[operator]
    assert metric(Sample(image, 16.0)) is None  # type: ignore[operator]


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(OptionError, match="must have the state's shape"):
        psnr(Sample(natural(32, 32), 4.0, reference=natural(32, 48)))


def test_luma_weights() -> None:
    assert luma(np.eye(3, dtype=np.float32)[None])[0] == pytest.approx([0.299, 0.587, 0.114])
