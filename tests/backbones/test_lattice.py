"""The lattice of patches: the same in parts, of even contrast, and no grid where many patches are seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from chainzoom.backbones.lattice import Numbers, around, drawn, mixed
from chainzoom.evaluation.metrics.texture import grid_share

SIDE, SPACING = 32, 8


def plane(seed: int, rows: Numbers, columns: Numbers, bent: bool) -> NDArray[np.float32]:
    """Of a source with few bright spots, whose blend is smoother than the source is."""
    random = np.random.default_rng(1)
    source = (random.random((SIDE, SIDE)) < 0.05).astype(np.float32)

    def corners(down: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
        return drawn(seed, down, right, SIDE)

    return mixed(source - source.mean(), corners, around, rows, columns, SPACING, bent)


@pytest.mark.parametrize("bent", [False, True])
def test_any_part_is_made_alone_and_contrast_stays(bent: bool) -> None:
    rows, columns = np.arange(-300, 100), np.arange(1000, 1400)
    whole = plane(3, rows, columns, bent)
    np.testing.assert_array_equal(plane(3, rows[70:99], columns[201:230], bent), whole[70:99, 201:230])
    assert whole.std() == pytest.approx(0.05**0.5 * 0.95**0.5, rel=0.15)
    assert not np.array_equal(plane(4, rows, columns, bent), whole)


def test_lines_that_wind_are_no_grid() -> None:
    straight, bent = (0.5 + plane(3, np.arange(512), np.arange(512), bent).astype(np.float64) / 2 for bent in (False, True))
    assert grid_share(straight)[0] > 0.4
    assert grid_share(straight)[1] == SPACING
    assert grid_share(bent)[0] < 0.2
