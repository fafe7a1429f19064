"""Noise by place: a small convolutional backbone whose windows must agree exactly wherever both see enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.chain import Chain
from chainzoom.images import Image, clip
from chainzoom.prompters.base import Prompt, View
from chainzoom.seeds import derive
from chainzoom.sources import ArraySource
from chainzoom.windows import FieldBackbone, Index, NoiseField, Planes, Tiling
from chainzoom.windows.grid import SMOOTHING
from chainzoom.windows.render import WindowRenderer, WindowWork
from tests.conftest import EchoPrompter, natural

TILING = Tiling(core=40, halo=12, ramp=8, cell=8, margin=8)
REACH = 3
"""Input pixels that an output pixel depends on to either side."""


class Seeded:
    """Three 3 x 3 convolutions over picture, noise and words, zeros around it, and 16 pixels for each: an output pixel sees 3 around it.

    memory  largest side in one call
    """

    def __init__(self, memory: int = 10_000) -> None:
        self.facts = BackboneFacts("fake-field", 4, uses_prompt=True, stochastic=True, generative=True)
        self.memory, self.sizes = memory, list[int]()
        rng = np.random.default_rng(5)
        self._layers = [rng.normal(0, 0.3, (3, 3, size, 4)).astype(np.float32) for size in (8, 4)]
        self._last = rng.normal(0, 0.1, (3, 3, 4, 48)).astype(np.float32)

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        return self._made(image, prompt, NoiseField(seed), (0, 0))

    def _made(self, image: Image, prompt: str, noise: NoiseField, origin: tuple[int, int]) -> Image:
        height, width = image.shape[:2]
        if max(height, width) > self.memory:
            raise MemoryError
        self.sizes.append(max(height, width))
        x, y = origin
        drawn = noise.read(x, y, x + width, y + height, 4)
        words = np.full((height, width, 1), len(prompt) / 8, np.float32)
        features = np.concatenate((image, drawn, words), 2)
        for kernel in self._layers:
            features = np.tanh(convolved(features, kernel))
        detail = convolved(features, self._last).reshape(height, width, 4, 4, 3).swapaxes(1, 2).reshape(4 * height, 4 * width, 3)
        return clip(np.repeat(np.repeat(image, 4, 0), 4, 1) + np.float32(0.2) * detail)


class Placed(Seeded):
    """The same with noise by place."""

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        return self._made(image, prompt, noise, origin)


def convolved(image: Image, kernel: np.ndarray) -> Image:
    height, width = image.shape[:2]
    filled = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    # einsum adds up in the same order for every pixel, so that equal inputs give equal bits.
    return sum(np.einsum("hwi,io->hwo", filled[a : a + height, b : b + width], kernel[a, b]) for a in range(3) for b in range(3))


class Loud(EchoPrompter):
    """Other words for every window."""

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        return [Prompt("x" * (view.seed % 9), "loud") for view in views]


def planes(backbone: Seeded | None = None, *, seed: int = 0, loud: bool = False, consistency: float = 0.0, width: int = 220) -> Planes:
    chain = Chain(backbone or Placed(), Loud() if loud else None, consistency=consistency)
    return Planes(ArraySource.of(natural(110, width)), chain, seed=seed, tiling=TILING, inherit=False)


def shared(made: Planes, left: Index, right: Index) -> tuple[Image, Image]:
    """What two windows side by side show of the same pixels, as far as both are kept."""
    level = made.level(left.level)
    start, stop = level.columns.held(right.column)[0], level.columns.held(left.column)[1]
    first, second = made.window(left), made.window(right)
    assert stop - start > 40
    return first[:, -(stop - start) :], second[:, : stop - start]


def test_windows_with_the_same_words_agree_where_they_overlap() -> None:
    made = planes()
    assert isinstance(made.chain.backbone, FieldBackbone)
    assert TILING.halo - TILING.ramp // 2 - SMOOTHING // 4 > REACH
    for level in (1, 2):
        np.testing.assert_array_equal(*shared(made, Index(level, 1, 1), Index(level, 1, 2)))


def test_with_a_seed_for_each_window_they_do_not() -> None:
    made = planes(Seeded())
    assert not isinstance(made.chain.backbone, FieldBackbone)
    first, second = shared(made, Index(1, 1, 1), Index(1, 1, 2))
    assert np.abs(first - second).max() > 0.02


def test_a_level_is_what_one_large_window_would_show() -> None:
    made, backbone = planes(), Placed()
    photo = natural(110, 220)
    noise = NoiseField(derive(0, made.source.sha256, "field"))
    once = backbone.upscale_at(photo, "", noise=noise, origin=(0, 0))
    assert np.abs(made.read(1, (0, 0, 880, 440)) - once).max() < 2e-5  # windows are kept at 16 bits


def test_short_of_memory_the_parts_take_the_same_noise() -> None:
    work = WindowWork(Index(1, 2, 3), natural(64, 64), (83, 41), "wool", 7)
    (plenty,) = WindowRenderer(Placed()).render([work], 99)
    small = Placed(40)
    tight = WindowRenderer(small)
    (little,) = tight.render([work], 99)
    assert tight.limit == max(small.sizes) == 32
    assert np.abs(plenty - little).max() < 1e-6
    (other,) = WindowRenderer(Placed(40)).render([work], 98)
    assert np.abs(other - little).max() > 0.02


def test_a_new_seed_is_another_picture() -> None:
    box = (300, 100, 420, 220)
    first = planes().read(1, box)
    assert np.abs(first - planes(seed=1).read(1, box)).mean() > 0.005
    np.testing.assert_array_equal(first, planes().read(1, box))


@pytest.mark.parametrize("consistency", [0.0, 1.0])
def test_different_words_side_by_side_show_no_edge(consistency: float) -> None:
    made = planes(loud=True, consistency=consistency, width=500)
    level = made.level(1)
    assert len({prompt.text for prompt in made.describe([Index(1, 0, column) for column in range(level.columns.count)])}) > 4
    first, second = shared(made, Index(1, 0, 1), Index(1, 0, 2))
    assert np.abs(first - second).mean() > 0.005
    profile = np.abs(np.diff(made.read(1, (0, 0, level.width, level.height)), axis=1)).mean(axis=(0, 2))
    lines, sides = [], []
    for number in range(1, level.columns.count):
        start, stop = level.columns.kept(number)[0], level.columns.kept(number - 1)[1]
        middle = (start + stop) // 2  # whole blocks of 4 columns: within a block of this backbone, the columns differ
        lines.append(profile[middle - 4 : middle + 4].mean())
        sides.append(np.concatenate((profile[start - 16 : start], profile[stop : stop + 16])).mean())
    assert np.mean(lines) == pytest.approx(np.mean(sides), rel=0.05)
