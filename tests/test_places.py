"""Zooms tell backbones that take noise by place where they are: the same places as in a picture made of windows."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom import Chain
from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.noise import NoiseField
from chainzoom.images import Image
from chainzoom.sources import ArraySource
from chainzoom.windows import Planes, Tiling
from tests.conftest import natural

PHOTO = natural(96, 160)


class Noted:
    """Shows the input's colours and, in the third channel, the noise of the place; remembers where it was asked."""

    def __init__(self) -> None:
        self.facts = BackboneFacts("noted", 4, stochastic=True)
        self.calls: list[tuple[NoiseField, tuple[int, int], tuple[int, ...]]] = []

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        raise AssertionError("the place is known")

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        self.calls.append((noise, origin, image.shape))
        made = np.repeat(np.repeat(image, 4, 0), 4, 1)
        x, y = origin
        drawn = noise.read(4 * x, 4 * y, 4 * x + made.shape[1], 4 * y + made.shape[0], 1)[..., 0]
        made[..., 2] = np.clip(0.5 + 0.1 * drawn, 0, 1)
        return made


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.31, 0.72), (0.0, 1.0)])
def test_each_step_lies_inside_the_one_before(at: tuple[float, float]) -> None:
    backbone = Noted()
    list(Chain(backbone, size=64, consistency=0.0).run(PHOTO, at=at, to=64, seed=3))
    assert [call[0].scale for call in backbone.calls] == [4, 16, 64]
    assert len({call[0].seed for call in backbone.calls}) == 1
    for (_, before, shape), (_, after, inner) in zip(backbone.calls, backbone.calls[1:], strict=False):
        for axis in (0, 1):
            assert 4 * before[axis] <= after[axis]
            assert after[axis] + inner[1 - axis] <= 4 * (before[axis] + shape[1 - axis])


def test_a_zoom_and_windows_invent_the_same_at_the_same_place() -> None:
    steps = list(Chain(Noted(), size=64, consistency=0.0).run(PHOTO, at=(0.5, 0.5), to=16, seed=3))
    made = Planes(ArraySource.of(PHOTO), Chain(Noted(), consistency=0.0), seed=3, tiling=Tiling(core=40, halo=12, ramp=8, cell=8, margin=8))
    for step, level in zip([step for step in steps if step.kind == "synthesised"], (1, 2), strict=True):
        x0, y0, x1, y1 = (round(step.scale * value) for value in step.region.as_tuple())
        np.testing.assert_allclose(made.read(level, (x0, y0, x1, y1))[..., 2], step.image[..., 2], atol=2e-4)


def test_the_paper_protocol_counts_from_its_square() -> None:
    backbone = Noted()
    list(Chain(backbone, protocol="paper", size=64, consistency=0.0).run(PHOTO, to=16, seed=3))
    assert [call[0].scale for call in backbone.calls] == [4, 16]
    first, second = (np.array(call[1]) for call in backbone.calls)
    assert (second == 4 * first + 24).all()


def test_zooms_of_other_factors_keep_in_step_as_far_as_pixels_allow() -> None:
    backbone = Noted()
    list(Chain(backbone, size=64, consistency=0.0, step="2").run(PHOTO, to=8, seed=3))
    assert [call[0].scale for call in backbone.calls] == [4, 8, 16]
    assert {call[2] for call in backbone.calls} == {(32, 32, 3)}
