"""Geometry: ladders, regions that compose, the point that stays where the user put it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from chainzoom.errors import OptionError
from chainzoom.regions import Planned, Region, native_ladder, plan_native, plan_paper

PHOTOS = [(4000, 3000), (3000, 4000), (512, 512), (300, 200), (16, 16), (12000, 900), (777, 1333), (5000, 17)]
POINTS = [(0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.62, 0.41), (1.0, 0.0), (0.003, 0.999)]
SCALES = [256.0, 1.5, 4.0, 4.1, 100.0, 1024.0, 4096.0, math.pi]


def test_ladder_shows_real_pixels_down_to_1x_then_fours() -> None:
    assert native_ladder(1.0, 256) == [1, 4, 16, 64, 256]
    assert native_ladder(0.25, 16) == [0.25, 1, 4, 16]
    ladder = native_ladder(0.128, 256)
    assert ladder[2:] == [1, 4, 16, 64, 256]
    assert ladder[1] / ladder[0] == pytest.approx(ladder[2] / ladder[1])


@pytest.mark.parametrize("to", SCALES)
def test_ladder_ends_exactly_and_no_factor_is_above_four_or_needlessly_small(to: float) -> None:
    ladder = native_ladder(0.2, to)
    assert ladder[-1] == to
    factors = [b / a for a, b in pairwise(ladder)]
    assert all(1 < factor <= 4 + 1e-9 for factor in factors)
    synthetic = [b / a for a, b in pairwise(ladder) if a >= 1]
    assert all(factor >= 2 - 1e-9 for factor in synthetic) or len(synthetic) == 1


@pytest.mark.parametrize("size", PHOTOS)
@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("to", SCALES)
def test_regions_nest_and_hold_the_point(size: tuple[int, int], at: tuple[float, float], to: float) -> None:
    width, height = size
    plan = plan_native(width, height, at, to)
    x, y = at[0] * width, at[1] * height
    assert plan[0].region == Region(0, 0, width, height)
    assert plan[-1].scale == to
    parent: Planned | None = None
    for state in plan:
        tolerance = 1e-9 * max(size)
        grown = Region(state.region.x0 - tolerance, state.region.y0 - tolerance, state.region.x1 + tolerance, state.region.y1 + tolerance)
        assert grown.contains(x, y)
        assert max(state.shape) <= 512
        if parent is not None:
            assert state.region.x0 >= parent.region.x0 - tolerance
            assert state.region.y0 >= parent.region.y0 - tolerance
            assert state.region.x1 <= parent.region.x1 + tolerance
            assert state.region.y1 <= parent.region.y1 + tolerance
        if state.index and state.scale >= 1:
            assert state.region.width * state.scale == pytest.approx(state.shape[0], abs=1e-6)
            assert state.region.height * state.scale == pytest.approx(state.shape[1], abs=1e-6)
        parent = state


@pytest.mark.parametrize("size", PHOTOS)
@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("to", [256.0, 100.0, 4.1])
def test_moves_say_where_the_region_is(size: tuple[int, int], at: tuple[float, float], to: float) -> None:
    plan = plan_native(*size, at, to)
    for parent, child in pairwise(plan):
        if child.move is None:
            continue
        x0, y0, x1, y1 = child.move.crop
        assert 0 <= x0 < x1 <= parent.shape[0]
        assert 0 <= y0 < y1 <= parent.shape[1]
        left, top, right, bottom = child.move.box
        assert 0 <= left < right <= x1 - x0
        assert 0 <= top < bottom <= y1 - y0
        assert parent.region.x0 + (x0 + left) / parent.scale == pytest.approx(child.region.x0, abs=1e-9 * max(size))
        assert parent.region.y0 + (y0 + bottom) / parent.scale == pytest.approx(child.region.y1, abs=1e-9 * max(size))


def test_four_times_steps_sit_on_whole_parent_pixels() -> None:
    for state in plan_native(4000, 3000, (0.62, 0.41), 4096):
        if state.move is not None:
            assert state.move.box == (0, 0, 128, 128)
            assert state.move.crop[2] - state.move.crop[0] == 128


def test_point_is_central_within_two_pixels_away_from_borders() -> None:
    for state in plan_native(4000, 3000, (0.62, 0.41), 1024)[1:]:
        centre = ((state.region.x0 + state.region.x1) / 2, (state.region.y0 + state.region.y1) / 2)
        assert abs(centre[0] - 2480) * state.scale <= 2
        assert abs(centre[1] - 1230) * state.scale <= 2


def test_at_256_a_512_pixel_state_shows_two_by_two_pixels() -> None:
    last = plan_native(4000, 3000, (0.5, 0.5), 256)[-1]
    assert last.shape == (512, 512)
    assert (last.region.width, last.region.height) == (2, 2)


def test_one_to_one_state_is_on_the_photo_grid() -> None:
    state = next(state for state in plan_native(4001, 2999, (0.3333, 0.77), 4) if state.scale == 1)
    assert state.region.x0 == int(state.region.x0)
    assert state.region.width == 512


def test_paper_protocol_is_the_official_centre_square() -> None:
    plan = plan_paper(451, 300, (0.5, 0.5), 256)
    assert [state.scale for state in plan] == [1, 4, 16, 64, 256]
    assert plan[0].region.x0 == pytest.approx(128 * 451 / 769)
    assert all(state.move is not None and state.move.crop == (192, 192, 320, 320) for state in plan[1:])


@pytest.mark.parametrize("at", POINTS)
def test_paper_protocol_zooms_anywhere(at: tuple[float, float]) -> None:
    plan = plan_paper(451, 300, at, 256)
    for parent, child in pairwise(plan):
        assert child.region.within(parent.region)
        assert abs(min(max(at[0] * 451, child.region.x0), child.region.x1) - at[0] * 451) < 1  # within a pixel of state 0


@pytest.mark.parametrize(
    ("at", "to", "size", "words"),
    [
        ((2.0, 3.0), 256.0, 512, "--at"),
        ((-0.1, 0.5), 256.0, 512, "--at"),
        ((float("nan"), 0.5), 256.0, 512, "--at"),
        ((0.5, 0.5), 0.5, 512, "--to"),
        ((0.5, 0.5), 1.0, 512, "--to"),
        ((0.5, 0.5), float("inf"), 512, "--to"),
        ((0.5, 0.5), 256.0, 8, "--size"),
    ],
)
def test_nonsense_is_refused_by_name(at: tuple[float, float], to: float, size: int, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        plan_native(100, 100, at, to, size)
