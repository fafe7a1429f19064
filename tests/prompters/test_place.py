"""Prompters are told where in the state before the crop lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainzoom.backbones.interpolation import Bicubic
from chainzoom.chain import Chain
from chainzoom.images import resize
from chainzoom.prompters.base import Prompt, View


class Listener:
    name = "listener"
    looks_at_photo = True
    weights = ()

    def __init__(self) -> None:
        self.views: list[View] = []

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        self.views += views
        return [Prompt("heard", self.name) for _ in views]


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.9, 0.2), (0.31, 0.77)])
def test_the_place_is_where_the_crop_comes_from(at: tuple[float, float]) -> None:
    photo = resize(np.random.default_rng(0).random((12, 16, 3), dtype=np.float32), (192, 144))  # smooth, so that resampling agrees
    listener = Listener()
    list(Chain(Bicubic(), listener, size=64).run(np.clip(photo, 0, 1), at=at, to=16))
    assert [view.place is None for view in listener.views] == [True, *[False] * (len(listener.views) - 1)]
    for view in listener.views[1:]:
        assert view.parent is not None
        assert view.place is not None
        height, width = view.parent.shape[:2]
        box = (view.place[0] * width, view.place[1] * height, view.place[2] * width, view.place[3] * height)
        shown = resize(view.parent, (view.crop.shape[1], view.crop.shape[0]), box=box)
        assert np.abs(shown - view.crop).mean() < 0.03


def test_a_crop_seen_alone_has_no_place() -> None:
    listener = Listener()
    list(Chain(Bicubic(), listener, size=64, mode="recursive").run(np.full((64, 64, 3), 0.5, np.float32), to=16))
    assert listener.views
    assert all(view.place is None and view.parent is None for view in listener.views)
