"""An endless plane that keeps a texture's order: the same in parts, in order where pieces meet, never a plain repetition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from chainzoom.backbones.courses import PIECE, Courses
from chainzoom.evaluation.metrics.texture import peak_share

SIDE = 2 * PIECE
COURSE, BRICK = 32, 64


def wall() -> NDArray[np.float32]:
    """Bricks in running bond with dark joints, each of its own shade."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    row = y // COURSE
    x = (x + row % 2 * BRICK // 2) % SIDE
    shades = random.uniform(-0.15, 0.15, (SIDE // COURSE, SIDE // BRICK))[row, x // BRICK]
    joint = (y % COURSE < 4) | (x % BRICK < 4)
    return np.asarray(np.where(joint, -0.5, shades) + random.normal(0, 0.01, (SIDE, SIDE)), np.float32)


@pytest.fixture(scope="module")
def bricks() -> Courses:
    return Courses(wall())


def test_any_part_is_made_alone(bricks: Courses) -> None:
    rows, columns = np.arange(-700, -200), np.arange(100, 900)
    for shrink in (1, 4, 16):
        whole = bricks.part(3, rows, columns, shrink)
        np.testing.assert_array_equal(bricks.part(3, rows[200:260], columns[300:310], shrink), whole[200:260, 300:310])
        np.testing.assert_array_equal(Courses(wall()).part(3, rows[:50], columns[:50], shrink), whole[:50, :50])
    assert np.abs(bricks.part(4, rows, columns) - bricks.part(3, rows, columns)).mean() > 0.02


def test_courses_go_on_where_pieces_meet(bricks: Courses) -> None:
    plane = bricks.part(3, np.arange(4 * SIDE), np.arange(4 * SIDE))
    rows = np.median(plane, axis=1)
    assert (rows[np.arange(4 * SIDE) % COURSE < 4] < -0.4).all()
    assert (rows[np.arange(4 * SIDE) % COURSE >= 4] > -0.4).all()
    y, x = np.arange(4 * SIDE)[:, None], np.arange(4 * SIDE)[None]
    joint = (y % COURSE < 4) | ((x + y // COURSE % 2 * BRICK // 2) % BRICK < 4)
    assert ((plane < -0.35) == joint).mean() > 0.998


def test_it_does_not_repeat_as_its_texture_does(bricks: Courses) -> None:
    plane = bricks.part(3, np.arange(6 * SIDE), np.arange(6 * SIDE))
    for again in (np.abs(plane[:, SIDE:] - plane[:, :-SIDE]), np.abs(plane[SIDE:] - plane[:-SIDE])):
        assert (again > 0.1).mean() > 0.2  # of the pixels; joints are the same everywhere
    # What has no order of its own leaves no spectral peaks; laid side by side it is nothing else.
    rough = np.random.default_rng(2).normal(0, 0.1, (SIDE, SIDE)).astype(np.float32)
    small = rough.reshape(32, 16, 32, 16).mean((1, 3))
    assert peak_share(0.5 + 3.0 * np.tile(small, (8, 8)).astype(np.float64)) > 0.8
    assert peak_share(0.5 + 3.0 * Courses(rough).part(3, np.arange(256), np.arange(256), 16).astype(np.float64)) < 0.2


def test_shrunk_it_is_the_same_plane_but_for_the_cuts(bricks: Courses) -> None:
    near = bricks.part(3, np.arange(2 * SIDE), np.arange(-SIDE, SIDE))
    for shrink in (2, 4, 16):
        far = bricks.part(3, np.arange(2 * SIDE // shrink), np.arange(-SIDE // shrink, SIDE // shrink), shrink)
        means = near.reshape(len(far), shrink, len(far), shrink).mean((1, 3))
        assert np.median(np.abs(means - far)) < 1e-6
        assert np.corrcoef(means.ravel(), far.ravel())[0, 1] > 0.98


def test_a_texture_that_repeats_in_itself_is_moved_by_what_changes_it() -> None:
    quarter = np.random.default_rng(3).normal(0, 0.1, (PIECE, PIECE)).astype(np.float32)
    found = Courses(np.tile(quarter, (2, 2)))
    assert len(found.moves) > 2
    for down, right in found.moves[1:]:
        assert np.abs(np.roll(found.texture, (-2 * down, -2 * right), (0, 1)) - found.texture).mean() > 0.05
    plain = Courses(np.zeros((SIDE, SIDE), np.float32))
    assert len(plain.moves) == 1
    assert not plain.part(1, np.arange(300), np.arange(300)).any()
