from itertools import pairwise

import numpy as np
import pytest

from chainzoom.backbones.tiles import fades, spans, upscale_tiled


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 40, 100, 257])
def test_spans_cover_with_one_size_and_enough_overlap(length):
    parts = spans(length, 16, 6)
    assert parts[0][0] == 0
    assert parts[-1][1] == length
    assert len({stop - start for start, stop in parts}) == 1
    assert parts[0][1] - parts[0][0] <= 16
    assert all(before[1] - after[0] >= 6 for before, after in pairwise(parts))
    # One span fewer could not do it.
    assert len(parts) == 1 or 16 + (len(parts) - 2) * 10 < length


@pytest.mark.parametrize("length", [17, 40, 101])
def test_fades_sum_to_one_and_keep_context_out(length):
    parts = spans(length, 16, 6)
    total = np.zeros(length * 4)
    for (start, stop), weight in zip(parts, fades(parts, 2, 4), strict=True):
        total[start * 4 : stop * 4] += weight
        assert start == 0 or not weight[:8].any()
        assert stop == length or not weight[-8:].any()
    assert np.allclose(total, 1, atol=1e-6)


def test_overlap_must_fit_into_the_tile():
    with pytest.raises(ValueError, match="overlap"):
        spans(100, 16, 16)


def _blur(image):
    """A stand-in for a network: 4x nearest, and every pixel sees 2 neighbours on each side; beyond the border is zero."""
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    mean = sum(padded[y : y + image.shape[0], x : x + image.shape[1]] for y in range(5) for x in range(5)) / np.float32(25)
    return mean.repeat(4, 0).repeat(4, 1)


def test_tiled_equals_whole_when_the_context_suffices():
    image = np.random.default_rng(0).random((37, 50, 3), dtype=np.float32)
    shapes = []

    def record(tile):
        shapes.append(tile.shape)
        return _blur(tile)

    tiled = upscale_tiled(image, record, scale=4, tile=16, overlap=6, ramp=2)
    assert np.allclose(tiled, _blur(image), atol=1e-6)
    assert len(set(shapes)) == 1
    assert len(shapes) > 4


def test_disagreeing_tiles_are_cross_faded_without_a_step():
    calls = iter(range(9))

    def disagree(tile):
        return np.full((tile.shape[0] * 4, tile.shape[1] * 4, 3), next(calls) % 2, np.float32)

    tiled = upscale_tiled(np.zeros((8, 40, 3), np.float32), disagree, scale=4, tile=16, overlap=6, ramp=4)
    assert {0.0, 1.0} <= set(np.unique(tiled))
    assert np.abs(np.diff(tiled, axis=1)).max() <= 1 / 16 + 1e-6


def test_a_small_picture_is_passed_whole():
    image = np.ones((16, 3, 3), np.float32)
    assert upscale_tiled(image, lambda tile: tile, scale=4, tile=16, overlap=6, ramp=2) is image
