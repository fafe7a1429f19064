"""The ``paper`` protocol against pictures made by the authors' code (tests/golden/geometry/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainzoom import Chain
from chainzoom.backbones.interpolation import Bicubic
from chainzoom.images import to_uint8
from chainzoom.regions import Move
from chainzoom.step import Work, advance
from tests.conftest import GOLDEN, read8

GEOMETRY = GOLDEN / "geometry"


def grey_levels(a: Any, b: Any) -> Any:
    return np.abs(to_uint8(a).astype(int) - to_uint8(b).astype(int))


def test_state_0_is_the_official_square() -> None:
    step = next(Chain(Bicubic(), protocol="paper").run(read8(GEOMETRY / "input.png")))
    assert grey_levels(step.image, read8(GEOMETRY / "0.png")).max() <= 1


@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
def test_interpolation_modes(mode: Any) -> None:
    steps = list(Chain(Bicubic(), mode=mode, protocol="paper").run(read8(GEOMETRY / "input.png"), to=256))
    for index in range(1, 5):
        assert grey_levels(steps[index].image, read8(GEOMETRY / mode / f"{index}.png")).max() <= 1


def test_onestep_with_an_identity_backbone() -> None:
    """Bicubic is the identity here: the official backbone takes the picture already enlarged."""
    chain = Chain(Identity(), mode="onestep", protocol="paper", consistency=0)
    steps = list(chain.run(read8(GEOMETRY / "input.png"), to=256))
    for index in range(1, 5):
        difference = grey_levels(steps[index].image, read8(GEOMETRY / "onestep" / f"{index}.png"))
        # The official states are cut to 8 bits by truncation: up to one level darker than rounded ones.
        assert difference.max() <= 2
        assert (difference > 1).mean() < 0.03


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_every_recursive_step_from_the_official_parent(index: int) -> None:
    parent = read8(GEOMETRY / ("0.png" if index == 1 else f"recursive/{index - 1}.png"))
    move = Move(4.0, (192, 192, 320, 320), (0.0, 0.0, 128.0, 128.0))
    made = advance(Work(parent, move, (512, 512)), Bicubic(), strength=0).image
    assert grey_levels(made, read8(GEOMETRY / "recursive" / f"{index}_input.png")).max() <= 1


def test_the_whole_recursion_stays_within_a_grey_level_on_average_and_is_not_dark() -> None:
    steps = list(Chain(Bicubic(), protocol="paper", consistency=0).run(read8(GEOMETRY / "input.png"), to=256))
    for index in range(1, 5):
        official = read8(GEOMETRY / "recursive" / f"{index}.png")
        assert grey_levels(steps[index].image, official).mean() < 1
        # Nor is anything lost between steps: rounding happens when a file is written, not in the chain.
        assert float(steps[index].image.mean() - official.mean()) * 255 > -0.05


class Identity(Bicubic):
    """The identity in the place where the official code puts its backbone."""

    def __init__(self) -> None:
        super().__init__()
        from dataclasses import replace

        self._given = replace(super().facts, name="identity", input="upscaled")

    @property
    def facts(self) -> Any:
        return self._given

    def upscale(self, image: Any, prompt: str = "", *, seed: int = 0) -> Any:
        return image
