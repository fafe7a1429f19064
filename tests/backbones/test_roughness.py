"""How rough a picture is, place by place."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.backbones.roughness import REACH, lightness, roughness, vividness


def noise(height: int, width: int, contrast: float) -> np.ndarray:
    plane = 0.5 + contrast * np.random.default_rng(0).normal(size=(height, width, 1))
    return np.repeat(plane, 3, axis=2).astype(np.float32)


def test_it_is_the_contrast_of_small_places() -> None:
    assert roughness(np.full((20, 30, 3), 0.7, np.float32)) == pytest.approx(0.001, rel=0.01)
    weak, strong = (roughness(noise(60, 60, contrast)).mean() for contrast in (0.02, 0.08))
    assert 0.7 * 0.02 < weak < 0.02
    assert strong / weak == pytest.approx(4, rel=0.1)


def test_an_edge_does_not_make_its_sides_rough() -> None:
    edge = np.full((60, 60, 3), 0.2, np.float32)
    edge[:, 30:] = 0.8
    texture = roughness(noise(60, 60, 0.3)).mean()
    assert roughness(edge).max() < 0.05 * texture


def test_it_sees_no_farther_than_said() -> None:
    whole = noise(40, 80, 0.1)
    part = roughness(whole[:, 20:])
    np.testing.assert_allclose(part[:, REACH:], roughness(whole)[:, 20 + REACH :], rtol=1e-3)
    assert not np.allclose(part[:, : REACH - 4], roughness(whole)[:, 20 : 16 + REACH], rtol=1e-3)


def test_vivid_is_what_a_shading_swings_more_than_luma_does() -> None:
    assert vividness(noise(40, 40, 0.2)) == pytest.approx(1, abs=1e-6)
    purple = np.broadcast_to(np.array([0.6, 0.16, 0.55], np.float32), (30, 30, 3))
    shaded = purple + 0.05 * (purple + 0.1)
    swing = np.sqrt(((shaded - purple) ** 2).mean(axis=-1)) / (lightness(shaded) - lightness(purple))
    np.testing.assert_allclose(vividness(purple), swing, rtol=1e-3)
    assert vividness(purple).min() > 1.25
    green = np.broadcast_to(np.array([0.1, 0.6, 0.1], np.float32), (30, 30, 3))
    assert vividness(green) == pytest.approx(1)  # its luma swings most of all
