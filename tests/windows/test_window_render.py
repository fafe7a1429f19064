from __future__ import annotations

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.interpolation import Bicubic
from chainzoom.errors import BackendError
from chainzoom.images import Image
from chainzoom.windows.grid import Index
from chainzoom.windows.render import ATTEMPTS, WindowRenderer, WindowWork, fault, out_of_memory
from tests.conftest import natural


class Faulty(Bicubic):
    """Returns ``bad`` for its first ``times`` calls."""

    def __init__(self, bad: str, times: int) -> None:
        self.bad, self.left, self.seeds = bad, times, list[int]()

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        made = super().upscale(image)
        self.seeds.append(seed)
        self.left -= 1
        if self.left < 0:
            return made
        return made * {"nan": np.float32("nan"), "black": np.float32(0)}[self.bad] if self.bad != "flat" else np.full_like(made, 0.5)


class Small(Bicubic):
    """Has memory for ``side`` pixels."""

    def __init__(self, side: int, error: Exception) -> None:
        self.side, self.error = side, error

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        if max(image.shape[:2]) > self.side:
            raise self.error
        return super().upscale(image)


def works(count: int = 2, side: int = 64) -> list[WindowWork]:
    return [WindowWork(Index(1, 0, column), natural(side, side, column), (0, 0), "", 5 + column) for column in range(count)]


@pytest.mark.parametrize("bad", ["nan", "black", "flat"])
def test_a_failed_window_is_made_again(bad: str) -> None:
    backbone = Faulty(bad, 1)
    renderer = WindowRenderer(backbone)
    made = renderer.render(works())
    for image, work in zip(made, works(), strict=True):
        np.testing.assert_array_equal(image, Bicubic().upscale(work.image))
    assert all(incident.kind == "redone" for incident in renderer.incidents)
    # A NaN spoils the call for both windows; they are tried one by one before anything counts as failed.
    assert len(renderer.incidents) == (0 if bad == "nan" else 1)


def test_the_third_attempt_takes_another_seed_and_then_it_is_an_error() -> None:
    backbone = Faulty("black", 99)
    with pytest.raises(BackendError, match="window 0,0 of level 1 failed 3 times \\(black\\)"):
        WindowRenderer(backbone).render(works(1))
    assert len(backbone.seeds) == ATTEMPTS
    assert backbone.seeds[0] == backbone.seeds[1] != backbone.seeds[2]


def test_the_backbones_own_words_are_kept() -> None:
    with pytest.raises(BackendError, match="the socket is loose"):
        WindowRenderer(Small(1, BackendError("the socket is loose"))).render(works(1))


@pytest.mark.parametrize("value", [0, 0.5])
def test_a_part_that_failed_is_seen(value: float) -> None:
    given = natural(80, 100)
    made = Bicubic().upscale(given)
    assert fault(made, given) == ""
    made[128:, 256:] = value
    assert fault(made, given) == ("black" if value == 0 else "flat")


def test_dark_and_flat_photos_are_no_failure() -> None:
    black = np.zeros((8, 8, 3), np.float32)
    assert fault(np.zeros((32, 32, 3), np.float32), black) == ""
    assert fault(np.full((32, 32, 3), 0.5, np.float32), black + np.float32(0.5)) == ""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried"), BackendError("x ran out of device memory with"), RuntimeError("bad_alloc")],
)
def test_running_out_of_memory_halves_the_window_and_goes_on(error: Exception) -> None:
    renderer = WindowRenderer(Small(40, error))
    made = renderer.render(works())
    assert renderer.limit == 32
    assert [incident.kind for incident in renderer.incidents] == ["memory"]
    assert "32 px" in renderer.incidents[0].text
    # The parts see less than the whole, so they differ, but only a little and only where they meet.
    assert np.abs(made[0] - Bicubic().upscale(works()[0].image)).max() < 0.02
    renderer.render(works())
    assert len(renderer.incidents) == 1


def test_memory_for_nothing_is_an_error_and_other_errors_pass() -> None:
    with pytest.raises(BackendError, match="24 px"):
        WindowRenderer(Small(8, MemoryError())).render(works(1))
    with pytest.raises(ZeroDivisionError):
        WindowRenderer(Small(8, ZeroDivisionError())).render(works(1))
    assert not out_of_memory(ValueError("memory of a place"))


def test_batches_go_through_together() -> None:
    class Batching(Bicubic):
        def __init__(self) -> None:
            self.batches: list[int] = []

        def upscale_batch(self, images: list[Image], prompts: list[str], seeds: list[int]) -> list[Image]:
            self.batches.append(len(images))
            return [self.upscale(image) for image in images]

    backbone = Batching()
    WindowRenderer(backbone).render(works(5))
    assert backbone.batches == [5]


def test_adain_gives_each_window_the_colours_of_its_input() -> None:
    class Tinted(Bicubic):
        facts = BackboneFacts("tinted")

        def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
            return np.clip(super().upscale(image) * np.float32(0.8), 0, 1)

    (work,) = works(1)
    (plain,) = WindowRenderer(Tinted()).render([work])
    (aligned,) = WindowRenderer(Tinted(), "adain").render([work])
    assert abs(plain.mean() - work.image.mean()) > 0.05
    assert abs(aligned.mean() - work.image.mean()) < 0.005
