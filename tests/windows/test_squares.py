from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.images import Image, clip, resize
from chainzoom.settings import Settings
from chainzoom.windows.grid import Level, Tiling
from chainzoom.windows.squares import Squares
from tests.conftest import natural

SIDE = 96


def made(amplitude: float) -> tuple[Image, Image]:
    """A level below and a blended level that departs from it; the larger amplitude runs into the limits of [0, 1] in many places."""
    below = natural(SIDE, SIDE)
    noise = np.random.default_rng(0).standard_normal((SIDE * 4, SIDE * 4, 3)).astype(np.float32)
    return below, clip(resize(below, (SIDE * 4, SIDE * 4), "bicubic") + np.float32(amplitude) * noise + np.float32(0.1))


def read(below: Image, blended: Image, box: tuple[int, int, int, int], squares: Squares, **tiling: int) -> Image:
    level = Level.of(1, (SIDE, SIDE), 4, Tiling(**tiling))
    return squares.read(level, box, lambda b: below[b[1] : b[3], b[0] : b[2]], lambda b: blended[b[1] : b[3], b[0] : b[2]])


@pytest.mark.parametrize("amplitude", [0.05, 0.3])
def test_squares_with_a_margin_come_out_as_in_the_whole_picture(amplitude: float) -> None:
    below, blended = made(amplitude)
    whole = project(blended, below, enough_db=float("inf"))
    parts = read(below, blended, (0, 0, SIDE * 4, SIDE * 4), Squares(Settings()))
    assert np.abs(parts - whole).max() < 1e-4
    bare = read(below, blended, (0, 0, SIDE * 4, SIDE * 4), Squares(Settings()), margin=2)
    assert np.abs(bare - whole).max() > 1e-3
    assert consistency_db(parts, below) > 50


@pytest.mark.parametrize("settings", [Settings(), Settings(align="wavelet", consistency=0.5)])
def test_which_pixels_are_asked_for_changes_nothing(settings: Settings) -> None:
    below, blended = made(0.1)
    whole = read(below, blended, (0, 0, SIDE * 4, SIDE * 4), Squares(settings), margin=16)
    squares = Squares(settings)
    for x, y in pairwise((3, 200, 77)):
        box = (x, y, x + 101, y + 67)
        np.testing.assert_array_equal(read(below, blended, box, squares, margin=16), whole[y : y + 67, x : x + 101])


def test_the_wavelet_sees_enough_around_its_square() -> None:
    below, blended = made(0.1)
    settings = Settings(align="wavelet")
    tiling = Tiling.of(BackboneFacts("any"), align="wavelet")
    near = read(below, blended, (128, 128, 256, 256), Squares(settings), margin=tiling.margin)
    far = read(below, blended, (128, 128, 256, 256), Squares(settings), margin=tiling.margin + 16)
    assert np.abs(near - far).max() < 1e-4


def test_needed() -> None:
    assert Squares.needed(Settings())
    assert Squares.needed(Settings(consistency=0, align="wavelet"))
    assert not Squares.needed(Settings(consistency=0, align="adain"))
