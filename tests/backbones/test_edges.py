"""Edges of an enlargement become crisp; grain, plain places and what the input says stay."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.backbones.continuation import Texture
from chainzoom.backbones.directions import directions
from chainzoom.backbones.edges import crisp
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.images import Image, clip, psnr, resize


def half_plane(side: int, turn: float, low: float = 0.3, high: float = 0.7) -> Image:
    """An edge through the middle, so many degrees from upright; its slope is one pixel wide."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    away = x * np.cos(np.deg2rad(turn)) + y * np.sin(np.deg2rad(turn))
    plane = low + (high - low) * np.clip(away + 0.5, 0, 1)
    return np.repeat(plane[..., None], 3, axis=2).astype(np.float32)


def small_and_large(truth: Image) -> tuple[Image, Image]:
    """A picture four times smaller, and what its bicubic enlargement is once it shrinks to that."""
    height, width = truth.shape[0] // 4, truth.shape[1] // 4
    image = clip(resize(truth, (width, height)))
    return image, clip(project(clip(resize(image, (4 * width, 4 * height))), image))


def inner(image: Image) -> Image:
    return image[32:-32, 32:-32]


def slope(image: Image) -> float:
    """The steepest change from one pixel to the next."""
    return float(max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1)))


@pytest.mark.parametrize("turn", [0.0, 12.0, 30.0, 45.0, 75.0])
def test_an_edge_comes_nearer_to_the_true_one(turn: float) -> None:
    truth = half_plane(256, turn)
    image, soft = small_and_large(truth)
    made = crisp(soft, image)
    assert psnr(inner(made), inner(truth)) > psnr(inner(soft), inner(truth)) + 1.5
    assert slope(inner(made)) > 1.3 * slope(inner(soft))


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_no_halo_lies_beside_it(turn: float) -> None:
    image, soft = small_and_large(half_plane(256, turn))
    made = inner(crisp(soft, image))
    assert made.max() <= inner(soft).max() + 0.02
    assert made.min() >= inner(soft).min() - 0.02


def test_it_shrinks_back_to_the_input() -> None:
    truth = half_plane(128, 20, 0.02, 0.98) * np.array([1, 0.8, 0.5], np.float32)
    image, soft = small_and_large(truth)
    assert consistency_db(crisp(soft, image), image) > 55


def test_faint_grain_is_not_raised_and_plain_places_stay() -> None:
    grain = np.full((128, 128, 3), 0.5, np.float32) + np.float32(0.006) * np.random.default_rng(0).normal(size=(128, 128, 1))
    image = clip(resize(grain.astype(np.float32), (32, 32)))
    made = crisp(clip(project(grain.astype(np.float32), image)), image)
    assert made.std() < 1.1 * grain.std()
    plain = np.full((64, 64, 3), 0.25, np.float32)
    np.testing.assert_allclose(crisp(plain, plain[:16, :16]), plain, atol=1e-5)


def test_strong_grain_stays_as_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    image = clip(
        np.float32(0.5) + np.float32(0.08) * np.random.default_rng(3).normal(size=(64, 64, 1)).astype(np.float32) * np.ones(3, np.float32)
    )
    soft = clip(project(clip(resize(image, (256, 256))), image))
    change = float(np.abs(crisp(soft, image) - soft).mean())
    monkeypatch.setattr(Texture, "of", lambda image: Texture(*np.zeros((4, *image.shape[:2]), np.float32)))  # as if all were edges
    sharpened = float(np.abs(crisp(soft, image) - soft).mean())
    assert change < 0.15 * sharpened


def test_a_part_is_what_the_whole_has_there() -> None:
    rng = np.random.default_rng(4)
    truth = half_plane(512, 33) + np.float32(0.02) * rng.normal(size=(512, 512, 1))
    image, soft = small_and_large(clip(truth.astype(np.float32)))
    whole = crisp(soft, image)
    part = crisp(np.ascontiguousarray(soft[128:384, 128:384]), np.ascontiguousarray(image[32:96, 32:96]))
    gap = np.abs(part - whole[128:384, 128:384])
    assert gap[64:-64, 64:-64].max() < 1 / 255
    assert gap.mean() < 0.5 / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (9, 4)])
def test_pictures_of_few_pixels(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).random((*size, 3)).astype(np.float32)
    made = crisp(clip(resize(image, (4 * size[1], 4 * size[0]))), image)
    assert made.shape == (4 * size[0], 4 * size[1], 3)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 150.0])
def test_directions_run_along_lines_and_agree_there(turn: float) -> None:
    y, x = np.mgrid[:64, :64].astype(np.float32)
    lines = np.sin((y * np.cos(np.deg2rad(turn)) - x * np.sin(np.deg2rad(turn))) / 2).astype(np.float32)
    agree, angle = directions(lines, 6)
    assert agree[8:-8, 8:-8].min() > 0.95
    away = (np.rad2deg(angle[8:-8, 8:-8]) - turn + 90) % 180 - 90
    assert np.abs(away).max() < 4
    grain = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert directions(grain, 6)[0].mean() < 0.4
