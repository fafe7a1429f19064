from __future__ import annotations

import pytest

from chainzoom.backbones.base import Choice
from chainzoom.backbones.interpolation import Bicubic
from chainzoom.chain import Chain
from chainzoom.full.estimate import estimate
from chainzoom.full.writers import Target
from chainzoom.images import Image
from chainzoom.provenance import Provenance
from chainzoom.sources import ArraySource
from chainzoom.windows import Planes, Tiling
from tests.conftest import natural

SLOW = 0.05
CLOCK = [0.0]
SMALL = Tiling(core=32, halo=8, ramp=4, cell=8, margin=8)


class Steady(Bicubic):
    """Takes its time."""

    def __init__(self, seconds: float = SLOW) -> None:
        super().__init__()
        self.seconds = seconds

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        CLOCK[0] += self.seconds
        return super().upscale(image, prompt, seed=seed)


class Choosy(Steady):
    """Takes its time with real pixels and none with invented ones, as an adaptive backbone may."""

    def given(self, evidence: float) -> Choosy:
        return Choosy(SLOW if evidence >= 1 else 0.0)

    def choice(self, image: Image, prompt: str = "", *, seed: int = 0) -> Choice:
        return Choice((("bicubic", 1.0),), 1.0, "", ())


def test_windows_above_the_first_level_are_timed_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainzoom.full.estimate.perf_counter", lambda: CLOCK[0])
    target = Target(90 * 16, 60 * 16, 8, False, Provenance("ab" * 32, 16.0, True, region=(0, 0, 90, 60)))
    source = ArraySource.of(natural(60, 90))
    steady, choosy = (
        estimate(Planes(source, Chain(backbone, None), tiling=SMALL), 2, target, target.grid[0] * target.grid[1], 2)
        for backbone in (Steady(), Choosy())
    )
    assert choosy.window_seconds == pytest.approx(SLOW)
    assert steady.seconds - choosy.seconds == pytest.approx(choosy.windows[2] * SLOW)
