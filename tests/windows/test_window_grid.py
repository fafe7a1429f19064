from __future__ import annotations

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.errors import OptionError
from chainzoom.windows.grid import Axis, Index, Level, Tiling, times

SMALL = Tiling(core=32, halo=8, ramp=4, cell=8, margin=8)


@pytest.mark.parametrize("length", [16, 48, 49, 80, 81, 100, 113, 300])
@pytest.mark.parametrize("scale", [2, 4])
def test_weights_add_up_to_one_and_windows_are_equal(length: int, scale: int) -> None:
    axis = Axis(length, scale, SMALL)
    total = np.zeros(length * scale)
    for number in range(axis.count):
        first, stop = axis.kept(number)
        start, end = axis.span(number)
        assert start * scale <= first < stop <= end * scale
        assert end - start == min(length, SMALL.window)
        total[first:stop] += axis.weight(number)
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("length", [16, 49, 81, 100, 300])
def test_touching_and_owner_agree_with_looking_at_all(length: int) -> None:
    axis = Axis(length, 4, SMALL)
    kept = [axis.kept(number) for number in range(axis.count)]
    for start in range(0, length * 4, 7):
        stop = min(length * 4, start + 50)
        expected = [number for number, (a, b) in enumerate(kept) if a < stop and b > start]
        assert list(axis.touching(start, stop)) == expected
        weights = [axis.weight(n)[start - a] if a <= start < b else 0 for n, (a, b) in enumerate(kept)]
        assert weights[axis.owner(start)] == max(weights)


def test_a_far_window_of_a_huge_level_costs_nothing_to_find() -> None:
    level = Level.of(8, (12000, 9000), 4, Tiling())
    assert level.width == 12000 * 4**8
    (index,) = level.touching((level.width - 3, level.height - 3, level.width, level.height))
    assert index == Index(8, level.rows.count - 1, level.columns.count - 1)
    assert level.input(index)[2:] == (level.columns.length, level.rows.length)


def test_cells_see_their_margin_but_not_past_the_level() -> None:
    level = Level.of(1, (100, 60), 4, SMALL)
    assert level.cells((0, 33, 32, 65)) == (0, 1, 1, 3)
    assert level.around((0, 1, 1, 3)) == (0, 0, 16, 32)
    assert level.around((10, 5, 13, 8)) == (72, 32, 100, 60)
    assert times((1, 2, 3, 4), 4) == (4, 8, 12, 16)


def test_tilings() -> None:
    assert Tiling().window == 160
    plain, generative = BackboneFacts("a"), BackboneFacts("b", generative=True)
    assert Tiling.of(plain).core == 128
    assert Tiling.of(generative, 512).window == 128
    assert Tiling.of(plain, align="wavelet").margin > Tiling.of(plain).margin
    for wrong in ({"core": 0}, {"ramp": 40}, {"core": 8, "ramp": 8}, {"margin": -1}):
        with pytest.raises(OptionError):
            Tiling(**wrong)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_weights_of_every_band_add_up_and_finer_bands_fade_over_less(scale: int) -> None:
    axis = Axis(113, scale, Tiling(core=32, halo=8, ramp=8, cell=8, margin=4))
    totals, fading = np.zeros((3, 113 * scale)), [0, 0, 0]
    for number in range(axis.count):
        for band, weight in enumerate(axis.weights(number)):
            totals[band, slice(*axis.kept(number))] += weight
            fading[band] += int(((weight > 0) & (weight < 1)).sum())
        (first, stop), (start, end), (low, high) = axis.kept(number), axis.held(number), axis.span(number)
        assert low * scale <= start <= first < stop <= end <= high * scale
    np.testing.assert_allclose(totals, 1, atol=1e-6)
    assert (totals[2] == 1).all()
    joins = axis.count - 1
    for pixels, ramp in zip(fading, (8, 2, 0), strict=True):
        assert abs(pixels - 2 * ramp * scale * joins) <= 2 * joins  # where pixels lie on the ramp's ends
