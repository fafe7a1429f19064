"""The chain: purity, prompts, modes, and what a backbone may do wrong."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from chainzoom import Chain, Step
from chainzoom.errors import BackendError, OptionError
from chainzoom.images import Image, clip, psnr, resize
from tests.conftest import EchoPrompter, NoisyBackbone, natural


def pixels(steps: list[Step]) -> list[bytes]:
    return [step.image.tobytes() for step in steps]


def test_states_have_the_planned_scales_and_shapes(photo: Image) -> None:
    steps = list(Chain(NoisyBackbone()).run(photo, to=256))
    assert [step.scale for step in steps] == [1, 4, 16, 64, 256]
    assert [step.kind for step in steps] == ["photo", *["synthesised"] * 4]
    assert steps[0].image.shape == photo.shape
    assert np.array_equal(steps[0].image, photo)
    assert [step.image.shape[:2] for step in steps[1:]] == [(384, 512), (512, 512), (512, 512), (512, 512)]
    assert [step.factor for step in steps] == [1, 4, 4, 4, 4]


def test_iterator_is_lazy(photo: Image) -> None:
    backbone = NoisyBackbone()
    run = Chain(backbone).run(photo, to=256)
    next(run)
    assert backbone.calls == []
    next(run)
    assert len(backbone.calls) == 1


def test_steps_are_immutable(photo: Image) -> None:
    step = list(Chain(NoisyBackbone()).run(photo, to=4))[-1]
    with pytest.raises(FrozenInstanceError):
        step.scale = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        step.image[0, 0, 0] = 1
    assert step.input is not None
    assert not step.input.flags.writeable


def test_same_seed_same_bytes_other_seed_other_bytes(photo: Image) -> None:
    chain = Chain(NoisyBackbone())
    first, again = (pixels(list(chain.run(photo, to=64, seed=3))) for _ in range(2))
    other = pixels(list(chain.run(photo, to=64, seed=4)))
    assert first == again
    assert first[0] == other[0]
    assert all(a != b for a, b in zip(first[1:], other[1:], strict=True))


@pytest.mark.parametrize("mode", ["multiscale", "recursive", "onestep", "bicubic"])
@pytest.mark.parametrize("keep", [0, 1, 2, 3, 5])
def test_going_on_from_finished_steps_gives_the_same_bytes(photo: Image, mode: Any, keep: int) -> None:
    def run(done: list[Step]) -> list[Step]:
        return list(Chain(NoisyBackbone(), EchoPrompter(True), mode=mode, user_prompt="fur").run(photo, to=256, seed=1, done=done))

    whole = run([])
    rest = run(whole[:keep])
    assert [step.index for step in rest] == list(range(keep, 5))
    assert pixels(rest) == pixels(whole[keep:])
    assert [step.prompt for step in rest] == [step.prompt for step in whole[keep:]]


def test_prompter_sees_parent_crop_and_history(photo: Image) -> None:
    prompter = EchoPrompter()
    steps = list(Chain(NoisyBackbone(), prompter, consistency=0).run(photo, to=64))
    assert len(prompter.views) == 3
    for view, parent, step in zip(prompter.views, steps, steps[1:], strict=False):
        assert view.parent is not None
        assert np.array_equal(view.parent, parent.image)
        assert step.input is not None
        assert np.allclose(view.crop, clip(resize(step.input, (step.image.shape[1], step.image.shape[0]))), atol=1e-6)
        assert view.scale == step.scale
    assert [len(view.history) for view in prompter.views] == [0, 1, 2]
    assert prompter.views[2].history == (steps[1].prompt, steps[2].prompt)


def test_prompter_that_looks_at_the_photo_describes_real_states_first(photo: Image) -> None:
    prompter = EchoPrompter(looks_at_photo=True)
    steps = list(Chain(NoisyBackbone(), prompter, size=64).run(photo, to=16))
    assert [step.kind for step in steps] == ["photo", "photo", "synthesised", "synthesised"]
    assert [len(view.history) for view in prompter.views] == [0, 1, 2, 3]
    assert prompter.views[0].parent is None
    assert steps[0].prompt.text == "words 0"
    assert steps[0].prompter_weights == prompter.weights


def test_single_image_mode_hides_parent_and_history(photo: Image) -> None:
    prompter = EchoPrompter()
    list(Chain(NoisyBackbone(), prompter, mode="recursive").run(photo, to=64))
    assert all(view.parent is None and view.history == () for view in prompter.views)


def test_user_words_come_first_and_alone_without_prompter(photo: Image) -> None:
    both = list(Chain(NoisyBackbone(), EchoPrompter(), user_prompt="tabby fur").run(photo, to=4))[-1].prompt
    assert (both.text, both.source) == ("tabby fur, words 0", "echo+user")
    alone = list(Chain(NoisyBackbone(), user_prompt="tabby fur").run(photo, to=4))[-1].prompt
    assert (alone.text, alone.source) == ("tabby fur", "user")
    official = list(Chain(NoisyBackbone(), EchoPrompter(), user_prompt="fur", protocol="paper").run(photo, to=4))[-1].prompt
    assert official.text == "words 0, fur,"


def test_a_prompt_taken_over_from_the_parent_does_not_repeat_the_users_words(photo: Image) -> None:
    class Stuck(EchoPrompter):
        def describe(self, views: Any) -> Any:
            return [
                replace(said, text=view.history[-1].text if view.history else said.text)
                for said, view in zip(super().describe(views), views, strict=True)
            ]

    steps = list(Chain(NoisyBackbone(), Stuck(), user_prompt="fur").run(photo, to=64))
    assert [step.prompt.text for step in steps[1:]] == ["fur, words 0"] * 3


def test_words_that_a_text_encoder_cannot_see_are_noted(photo: Image) -> None:
    class Short(NoisyBackbone):
        def truncation(self, prompt: str) -> dict[str, int]:
            return {"CLIP": max(0, len(prompt.split()) - 3), "T5": 0}

    step = list(Chain(Short(), EchoPrompter(), user_prompt="long grey fur").run(photo, to=4))[-1]
    assert step.prompt.notes == ("CLIP does not see the last 2 tokens",)


def test_words_reach_the_backbone(photo: Image) -> None:
    backbone = NoisyBackbone()
    list(Chain(backbone, EchoPrompter()).run(photo, to=16))
    assert [call[1] for call in backbone.calls] == ["words 0", "words 1"]
    assert backbone.calls[0][2] != backbone.calls[1][2]


def test_consistency_is_measured_and_reached() -> None:
    photo = natural(256, 256)
    loose = list(Chain(NoisyBackbone(), consistency=0).run(photo, to=256))
    tight = list(Chain(NoisyBackbone(), consistency=1).run(photo, to=256))
    for step in loose[1:]:
        assert step.consistency is not None
        assert step.consistency.raw == step.consistency.corrected
        assert step.consistency.raw < 45
    for parent, step in pairwise(tight):
        assert step.consistency is not None
        assert step.consistency.corrected >= 45 > step.consistency.raw
        assert step.input is not None
        assert parent.image.shape[0] >= step.input.shape[0]
        assert psnr(resize(step.image, (step.input.shape[1], step.input.shape[0])), step.input) >= 45


@pytest.mark.parametrize("to", [1.5, 3.0, 10.0, 100.0, 300.0, 4096.0])
def test_any_scale_is_reached_exactly_and_shows_its_region(to: float) -> None:
    photo = natural(256, 384)
    last = list(Chain(NoisyBackbone(noise=0), consistency=0).run(photo, at=(0.31, 0.77), to=to))[-1]
    assert last.scale == to
    truth = clip(resize(photo, (last.image.shape[1], last.image.shape[0]), "bicubic", last.region.as_tuple()))
    assert psnr(last.image, truth) > 40


@pytest.mark.parametrize("kind", ["lowres", "upscaled"])
@pytest.mark.parametrize("multiple", [1, 16])
def test_backbones_of_both_kinds_and_size_rules(photo: Image, kind: str, multiple: int) -> None:
    backbone = NoisyBackbone(multiple=multiple, min_size=130, kind=kind)
    steps = list(Chain(backbone).run(photo, to=50))
    assert steps[-1].image.shape == (512, 512, 3)
    for shape, _, _ in backbone.calls:
        assert shape[0] % multiple == 0
        assert min(shape[:2]) >= 130


def test_backbone_of_scale_two_reaches_the_same_states(photo: Image) -> None:
    steps = list(Chain(NoisyBackbone(scale=2)).run(photo, to=16))
    assert [step.image.shape for step in steps] == [(96, 144, 3), (384, 512, 3), (512, 512, 3)]


@pytest.mark.parametrize("broken", ["shape", "nan"])
def test_backbone_that_breaks_its_promise_is_named(photo: Image, broken: str) -> None:
    class Broken(NoisyBackbone):
        def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
            made = super().upscale(image, prompt, seed=seed)
            return made[:-1] if broken == "shape" else np.full_like(made, np.nan)

    with pytest.raises(BackendError, match="noisy"):
        list(Chain(Broken()).run(photo, to=4))


def test_onestep_calls_the_backbone_once_a_state_from_the_photo(photo: Image) -> None:
    backbone = NoisyBackbone()
    list(Chain(backbone, mode="onestep").run(photo, to=64))
    assert [call[0] for call in backbone.calls] == [(96, 128, 3), (128, 128, 3), (128, 128, 3)]


@pytest.mark.parametrize("how", ["adain", "wavelet"])
def test_alignment_brings_colours_back(photo: Image, how: Any) -> None:
    class Tinted(NoisyBackbone):
        def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
            return clip(super().upscale(image, prompt, seed=seed) * np.array([0.8, 1.0, 0.9], np.float32))

    def drift(how: Any) -> float:
        step = list(Chain(Tinted(), align=how, consistency=0).run(photo, to=4))[-1]
        assert step.input is not None
        return float(np.abs(step.image.mean((0, 1)) - step.input.mean((0, 1))).max())

    assert drift(how) < 0.2 * drift("none")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "sideways"}, "--mode"),
        ({"align": "warp"}, "--align"),
        ({"protocol": "fax"}, "--protocol"),
        ({"consistency": 1.5}, "--consistency"),
        ({"consistency": float("nan")}, "--consistency"),
        ({"size": 7}, "--size"),
    ],
)
def test_bad_settings_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Chain(NoisyBackbone(), **options)


@pytest.mark.parametrize("seed", [-1, 2**48])
def test_bad_seeds_are_refused(photo: Image, seed: int) -> None:
    with pytest.raises(OptionError, match="--seed"):
        Chain(NoisyBackbone()).run(photo, seed=seed)
