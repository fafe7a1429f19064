"""Many images at once give each image's own states, in batches, with words and pixels overlapping."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from chainzoom import Chain, Step
from chainzoom.course import Course
from chainzoom.errors import OptionError
from chainzoom.images import Image
from chainzoom.many import run_many
from chainzoom.prompters.base import Prompt, View
from tests.conftest import EchoPrompter, NoisyBackbone, natural


class Batching(NoisyBackbone):
    """Also takes batches; remembers their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def upscale_batch(self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        self.sizes.append(len(images))
        return [self.upscale(image, prompt, seed=seed) for image, prompt, seed in zip(images, prompts, seeds, strict=True)]


PHOTOS = [natural(64 + 16 * (n % 2), 96, n) for n in range(5)]


def together(chain: Chain, **options: int) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {}
    for number, step in run_many(chain, (chain.course(photo, to=16, seed=2) for photo in PHOTOS), **options):
        found.setdefault(number, []).append(step)
    return found


@pytest.mark.parametrize(("batch", "ahead"), [(1, 1), (2, 1), (2, 2), (8, 2), (1, 5)])
def test_each_image_gets_the_states_it_gets_alone(batch: int, ahead: int) -> None:
    chain = Chain(Batching(), EchoPrompter(True), size=128, user_prompt="fur")
    found = together(chain, batch=batch, ahead=ahead)
    assert sorted(found) == list(range(len(PHOTOS)))
    for number, photo in enumerate(PHOTOS):
        alone = list(chain.run(photo, to=16, seed=2))
        assert [step.index for step in found[number]] == [step.index for step in alone]
        assert [step.prompt for step in found[number]] == [step.prompt for step in alone]
        assert [step.image.tobytes() for step in found[number]] == [step.image.tobytes() for step in alone]


def test_backbone_and_prompter_see_batches() -> None:
    backbone, prompter = Batching(), EchoPrompter()
    together(Chain(backbone, prompter, size=64), batch=5)
    assert max(backbone.sizes) == 5, "all crops are 16 pixels square"
    assert len(prompter.views) == 2 * len(PHOTOS)


def test_backbone_without_batches_works_too() -> None:
    backbone = NoisyBackbone()
    assert len(together(Chain(backbone, size=64), batch=4)) == len(PHOTOS)
    assert len(backbone.calls) == 2 * len(PHOTOS)


def test_images_are_taken_only_when_there_is_room() -> None:
    taken = 0
    chain = Chain(NoisyBackbone(), size=64)

    def endless() -> Iterator[Course]:
        nonlocal taken
        while True:
            taken += 1
            yield chain.course(PHOTOS[0], to=16)

    run = run_many(chain, endless(), batch=2, ahead=2)
    for _ in range(3):
        next(run)
    assert taken == 4
    run.close()  # type: ignore[attr-defined]


def test_words_and_pixels_overlap() -> None:
    """Both sides meet at a barrier inside their work: it breaks unless they run at the same time."""
    barrier = threading.Barrier(2, timeout=10)

    class Slow(NoisyBackbone):
        def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
            barrier.wait()
            return super().upscale(image, prompt, seed=seed)

    class Speaker(EchoPrompter):
        asked = 0

        def describe(self, views: Sequence[View]) -> list[Prompt]:
            self.asked += 1
            if self.asked > 1:
                barrier.wait()
            return super().describe(views)

    chain = Chain(Slow(), Speaker(), size=64)
    run = run_many(chain, [chain.course(photo, to=4) for photo in PHOTOS[:2]], batch=1, ahead=2)
    first_synthesised = next(step for _, step in run if step.kind == "synthesised")
    assert first_synthesised.index > 0
    run.close()  # type: ignore[attr-defined]


def test_failures_reach_the_caller() -> None:
    class Broken(EchoPrompter):
        def describe(self, views: Sequence[View]) -> list[Prompt]:
            time.sleep(0.01)
            raise RuntimeError("no words")

    chain = Chain(NoisyBackbone(), Broken(), size=64)
    with pytest.raises(RuntimeError, match="no words"):
        together(chain)


@pytest.mark.parametrize("options", [{"batch": 0}, {"ahead": 0}])
def test_nonsense_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        together(Chain(NoisyBackbone()), **options)
