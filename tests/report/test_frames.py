from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.report.frames import box_in, check_frames, db_text, origin_text, scale_text


@pytest.mark.parametrize(
    ("scale", "text"),
    [(1, "1x"), (256, "256x"), (0.341333, "0.34x"), (2.7, "2.7x"), (16384.0, "16384x"), (0.5, "0.5x"), (0.0043, "0.004x"), (6.25, "6.25x")],
)
def test_scale_text(scale: float, text: str) -> None:
    assert scale_text(scale) == text


def test_db_text() -> None:
    assert [db_text(v) for v in (47.25, math.inf, None, math.nan)] == ["47.2 dB", "exact", "–", "–"]


def test_origin_names_where_real_pixels_end(chain) -> None:
    frames = chain()
    assert origin_text(frames) == "Real pixels up to 1x; synthesised from 4x on."
    assert origin_text(frames[:2]) == "Real pixels throughout; nothing is synthesised."
    assert origin_text(frames[2:]) == "Synthesised from 4x on."


def test_box_in_is_in_fractions_of_the_parent(chain) -> None:
    parent, child = chain()[0], chain()[1]
    parent, child = replace(parent, region=(10, 20, 110, 70)), replace(child, region=(35, 20, 60, 45))
    assert box_in(parent, child) == pytest.approx((0.25, 0, 0.5, 0.5))
    assert box_in(parent, replace(child, region=(-5, 20, 60, 45)))[0] == 0


def test_unusable_frames_are_refused(chain) -> None:
    frame = chain()[0]
    for bad in ([], [replace(frame, region=(5, 5, 5, 9))], [replace(frame, scale=0)], [replace(frame, image=np.zeros((4, 4), np.float32))]):
        with pytest.raises(OptionError, match="state"):
            check_frames(bad)
