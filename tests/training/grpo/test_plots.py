from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.training.grpo.plots import draw, panels, series, smooth

LOG = [
    {"step": 1, "reward/total": 1.0, "reward/phrase": 0.5, "abstained/phrase": 0.0, "loss": 0.1},
    {"step": 2, "reward/total": 1.2, "reward/phrase": 0.7, "abstained/phrase": 0.0, "figure/consistency_db": 31.0},
    {"step": 2, "validation/reward/total": 1.1},
]


def test_series_skip_what_was_not_logged() -> None:
    assert series(LOG, "reward/total") == ([1, 2], [1.0, 1.2])
    assert series(LOG, "figure/consistency_db") == ([2], [31.0])


def test_the_total_comes_first_and_consistency_has_its_panel() -> None:
    assert panels(LOG) == ["reward/total", "reward/phrase", "figure/consistency_db"]
    assert panels([*LOG, {"step": 3, "abstained/phrase": 0.5}])[-1] == "abstained/phrase"


def test_smooth_keeps_ends_and_means() -> None:
    assert smooth([1.0, 2.0, 6.0], share=1.0) == [1.0, 3.0, 6.0]
    assert smooth([5.0], 0.05) == [5.0]
    assert smooth([], 0.05) == []


def test_a_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(LOG, tmp_path / "a.png")
    draw([*LOG, {"step": 3, "reward/total": 9.0}], tmp_path / "b.png")
    with PILImage.open(tmp_path / "a.png") as a, PILImage.open(tmp_path / "b.png") as b:
        assert a.size == b.size
        assert (np.asarray(a) != np.asarray(b)).any()
    draw([], tmp_path / "empty.png")
