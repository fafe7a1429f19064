from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainzoom.backbones import exemplars
from chainzoom.backbones.exemplars import SIDE, Exemplars, Sight
from chainzoom.backbones.lattice import around, drawn, mixed
from chainzoom.backbones.noise import FieldBackbone, NoiseField
from chainzoom.backbones.pocket import CONTINUED, FIRST, LAID, OWN, Pocket
from chainzoom.backbones.pocket_network import read
from chainzoom.correctors.consistency import consistency_db, project, shrink
from chainzoom.errors import OptionError, WeightsError
from chainzoom.seeds import derive
from tests.backbones.pocket_files import several, shelf, weights


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pocket")
    return str(weights(folder / "pocket.safetensors")), str(shelf(folder / "exemplars.zip"))


@pytest.fixture(scope="module")
def pocket(files: tuple[str, str]) -> Pocket:
    return Pocket(weights=files[0], exemplars=files[1], threads=1, precision="f32")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(2)
    return (0.3 + 0.4 * rng.random((40, 52, 3))).astype(np.float32)


def test_the_result_shrinks_back_to_the_input(pocket: Pocket, picture: np.ndarray) -> None:
    made = pocket.upscale(picture, "grass", seed=1)
    assert made.shape == (160, 208, 3)
    assert made.dtype == np.float32
    assert consistency_db(made, picture) > 55


def test_seeds_differ_in_invention_and_agree_in_evidence(pocket: Pocket, picture: np.ndarray) -> None:
    a, b, again = (pocket.upscale(picture, "grass", seed=seed) for seed in (1, 2, 1))
    assert a.tobytes() == again.tobytes()
    assert np.abs(a - b).mean() > 0.005
    assert np.abs(shrink(a, (52, 40)) - shrink(b, (52, 40))).mean() < 0.001


def test_the_level_of_what_the_network_says_means_nothing(pocket: Pocket, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pocket.upscale(picture, "grass", seed=1)
    raw = Pocket._raw
    monkeypatch.setattr(Pocket, "_raw", lambda *given: raw(*given) - np.float32(0.7))
    assert np.abs(pocket.upscale(picture, "grass", seed=1) - made).mean() < 0.1 * made.std()


def test_words_change_the_picture(pocket: Pocket, picture: np.ndarray) -> None:
    assert np.abs(pocket.upscale(picture, "grass") - pocket.upscale(picture, "wooden planks")).mean() > 0.002


def test_without_creativity_the_seed_and_the_exemplar_are_silent(files: tuple[str, str], picture: np.ndarray) -> None:
    faithful = Pocket(weights=files[0], exemplars=files[1], threads=1, precision="f32", creativity=0)
    assert faithful.upscale(picture, "grass", seed=1).tobytes() == faithful.upscale(picture, "grass", seed=2).tobytes()


def test_the_pictures_texture_goes_on_where_no_surface_can_be_recognised_yet(
    pocket: Pocket, files: tuple[str, str], picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    faithful = Pocket(weights=files[0], exemplars=files[1], threads=1, precision="f32", creativity=0)

    def run(one: Pocket) -> list[np.ndarray]:
        return [one.upscale_at(picture, "rock", noise=NoiseField(1, scale), origin=(8, 8)) for scale in (4.0, 16.0, 64.0, 256.0)]

    made = [run(one) for one in (pocket, faithful)]
    assert all(consistency_db(image, picture) > 55 for images in made for image in images)
    amounts = []

    def bare(made: np.ndarray, image: np.ndarray, noise: NoiseField, origin: tuple[int, int], amount: float) -> np.ndarray:
        amounts.append((noise.scale, amount, origin))
        return made

    monkeypatch.setattr("chainzoom.backbones.pocket.continued", bare)
    without = [run(one) for one in (pocket, faithful)]
    ordered = pocket._shelf.ordered[pocket._lender("rock", 1, 16.0)]
    assert amounts == [(4.0, CONTINUED, (8, 8)), (16.0, LAID if ordered else OWN, (8, 8))]
    changes = [float(np.abs(a - b).mean()) for a, b in zip(made[0], without[0], strict=True)]
    assert changes[0] > 0.003 < changes[1]
    assert changes[2:] == [0, 0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(made[1], without[1], strict=True))


def test_edges_are_made_crisp_while_no_surface_is_lent(pocket: Pocket, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def noted(made: np.ndarray, image: np.ndarray) -> np.ndarray:
        given.append((consistency_db(made, image), image is picture))
        return made[:, ::-1]

    monkeypatch.setattr("chainzoom.backbones.pocket.crisp", noted)
    monkeypatch.setattr("chainzoom.backbones.pocket.continued", lambda made, *_: made)
    made = [pocket.upscale_at(picture, "rock", noise=NoiseField(1, scale), origin=(8, 8)) for scale in (4.0, 16.0)]
    monkeypatch.setattr("chainzoom.backbones.pocket.crisp", lambda made, _: made)
    plain = [pocket.upscale_at(picture, "rock", noise=NoiseField(1, scale), origin=(8, 8)) for scale in (4.0, 16.0)]
    assert [same for _, same in given] == [True]
    assert given[0][0] > 55
    np.testing.assert_allclose(made[0], project(plain[0][:, ::-1], picture), atol=0.02)
    assert made[1].tobytes() == plain[1].tobytes()


def test_words_that_name_no_surface_invent_less(pocket: Pocket, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.full((24, 24, 3), 0.5, np.float32)
    quiet = pocket.upscale(plain, "light blue, smooth")
    monkeypatch.setattr("chainzoom.backbones.pocket.UNNAMED", 1.0)
    assert quiet.std() < 0.95 * pocket.upscale(plain, "light blue, smooth").std()


def test_windows_agree_where_they_overlap(pocket: Pocket) -> None:
    assert isinstance(pocket, FieldBackbone)
    whole = (0.3 + 0.4 * np.random.default_rng(3).random((64, 120, 3))).astype(np.float32)
    noise = NoiseField(7, 256.0)
    a = pocket.upscale_at(whole[:, :80], "rock", noise=noise, origin=(100, 200))
    b = pocket.upscale_at(whole[:, 30:], "rock", noise=noise, origin=(130, 200))
    # 25 pixels from the ends: beyond the network's reach and the projection's tail.
    left, right = 55 * 4, 55 * 4 + 1
    np.testing.assert_allclose(a[:, left:right], b[:, left - 30 * 4 : right - 30 * 4], atol=1e-3)
    moved = pocket.upscale_at(whole[:, :80], "rock", noise=noise, origin=(101, 200))
    assert np.abs(a - moved).mean() > 0.002


def test_an_output_pixel_sees_no_farther_than_said(files: tuple[str, str], pocket: Pocket, picture: np.ndarray) -> None:
    reach = read(Path(files[0]))[0].reach
    code = pocket._code(np.ones(384, np.float32))
    other = picture.copy()
    other[:, 0] = 1 - other[:, 0]
    a, b = (pocket._raw(image, code, 0, NoiseField(1, 4.0), (0, 0)) for image in (picture, other))
    changed = np.flatnonzero(np.abs(a - b).max((0, 2)) > 0)
    assert changed.max() < 4 * (reach + 1)
    assert changed.max() > 4 * (reach - 3)


def test_tiles_change_nothing(pocket: Pocket, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.random.default_rng(4).random((30, 90, 3)).astype(np.float32)
    whole = pocket.upscale(wide, "sand")
    monkeypatch.setattr("chainzoom.backbones.pocket.TILE", 40)
    np.testing.assert_allclose(pocket.upscale(wide, "sand"), whole, atol=1e-5)


def test_facts_name_all_weights(pocket: Pocket) -> None:
    facts = pocket.facts
    assert facts.stochastic
    assert facts.uses_prompt
    assert facts.generative
    assert facts.weights[0].name == "chainzoom pocket"
    assert len(facts.weights) == 3


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("shrink", [1, 4, 16])
def test_a_field_is_the_same_in_parts(files: tuple[str, str], number: int, shrink: int) -> None:
    found = Exemplars.read(Path(files[1]))
    whole = found.field(number, 5, (-100, 40, 300, 340), shrink)
    np.testing.assert_array_equal(found.field(number, 5, (0, 100, 90, 150), shrink), whole[60:110, 100:190])
    assert np.abs(found.field(number, 6, (-100, 40, 300, 340), shrink) - whole).mean() > 0.005
    if shrink == 1:
        assert 0.85 < whole.std() / found.texture(number).std() < 1.15


def test_an_ordered_field_is_laid_and_another_one_mixed(files: tuple[str, str]) -> None:
    found = Exemplars.read(Path(files[1]))
    for number in (0, 1):
        wide = found.field(number, 5, (0, 0, 2 * SIDE, 64))
        assert np.abs(wide[:, :SIDE] - wide[:, SIDE:]).mean() > 0.005  # neither is repeated as it is
        # What is laid shows the exemplar's own values, what is mixed weighted means of four places.
        assert (np.isin(wide, found.texture(number)).mean() > 0.8) == found.ordered[number]


@pytest.mark.parametrize("number", [0, 1])
def test_a_zoom_meets_the_same_surface_four_times_larger(files: tuple[str, str], number: int) -> None:
    found = Exemplars.read(Path(files[1]))
    for less in (1, 4):
        near = found.field(number, 5, (160, -320, 480, 320), less)
        far = found.field(number, 5, (40, -80, 120, 80), 4 * less)
        shrunk = near.reshape(160, 4, 80, 4).mean((1, 3))
        assert np.corrcoef(shrunk.ravel(), far.ravel())[0, 1] > (0.985 if number == 0 else 0.97)


def test_a_surface_is_met_small_then_as_it_is_and_then_another_begins(files: tuple[str, str]) -> None:
    assert [Sight.at(scale) for scale in (16.0, 64.0, 256.0)] == [Sight(0, 16), Sight(0, 4), Sight(0, 1)]
    assert [Sight.at(4.0**power) for power in (5, 6, 7)] == [Sight(1, 16), Sight(1, 4), Sight(1, 1)]
    assert (Sight.at(4.0).generation, Sight.at(30.0), Sight.at(512.0)) == (-1, Sight(0, 8), Sight(1, 32))
    found = Exemplars.read(Path(files[1]))
    assert not found.seen(0, 5, (0, 0, 32, 32), 4.0).any()
    np.testing.assert_array_equal(found.seen(1, 5, (0, 0, 32, 32), 256.0), found.field(1, derive(5, 0), (0, 0, 32, 32)))
    assert np.abs(found.seen(1, 5, (0, 0, 32, 32), 4.0**7) - found.seen(1, 5, (0, 0, 32, 32), 256.0)).mean() > 0.01


def test_words_pick_the_exemplar(files: tuple[str, str]) -> None:
    found = Exemplars.read(Path(files[1]))
    near = np.zeros(384, np.float32)
    near[1] = 1
    picks = [found.pick(near, seed) for seed in range(50)]
    assert picks == [found.pick(near, seed) for seed in range(50)]
    assert picks.count(1) > 45
    assert found.nearest(near) == 1
    assert found.nearest(near, "old wood, grey") == 0
    assert found.nearest(near, "stone wall of a wood") == 1
    assert found.nearest(near, "ceramic") == 1


def test_the_seed_picks_among_a_materials_surfaces(tmp_path: Path) -> None:
    rows = {"a": ("wood",), "b": ("wood", "bark"), "c": ("bark", "wood"), "d": ("sand",)}
    found, words = several(tmp_path / "a.zip", rows), np.full(384, 384**-0.5, np.float32)
    picks = [found.names[found.nearest(words, "wood", seed)] for seed in range(300)]
    counts = {name: picks.count(name) for name in rows}
    assert counts["a"] > 110 < counts["b"]
    assert 2 < counts["c"] < 40  # what is something else first is taken less often
    assert counts["d"] == 0
    # A surface's luck is its own: what else the shelf holds, and what is said beside the material, does not change it.
    fewer = several(tmp_path / "b.zip", {name: rows[name] for name in "cba"})
    assert [fewer.names[fewer.nearest(words, "wood, grey", seed)] for seed in range(300)] == picks


def test_a_greater_chance_is_drawn_more_often(tmp_path: Path) -> None:
    rows, words = dict.fromkeys("abc", ("wood",)), np.full(384, 384**-0.5, np.float32)
    found = several(tmp_path / "a.zip", rows, {"a": 2.0, "b": 0.5})  # c has 1
    picks = [found.names[found.nearest(words, "wood", seed)] for seed in range(700)]
    for name, expected in {"a": 400, "b": 100, "c": 200}.items():
        assert abs(picks.count(name) - expected) < 4 * expected**0.5
    with pytest.raises(WeightsError, match="chance"):
        several(tmp_path / "b.zip", rows, {"a": 0.0})


def test_the_quiet_surface_is_for_words_that_name_none(tmp_path: Path) -> None:
    found = several(tmp_path / "a.zip", {"soft": ("quiet",), "plank": ("wood",)})
    words = np.full(384, 384**-0.5, np.float32)
    for prompt, name in (("light blue, smooth", "soft"), ("a quiet house of wood", "plank"), ("wood, quiet", "plank")):
        assert {found.names[found.nearest(words, prompt, seed)] for seed in range(20)} == {name}


def test_only_what_is_no_noise_needs_a_lattice_that_winds(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-60, 60, (SIDE, SIDE)).astype(np.int8)
    planes = []
    for name in ("rock", "quiet"):
        found = several(tmp_path / f"{name}.zip", {"a": (name,)})
        found._read[0] = noise
        planes.append(found.field(0, 5, (0, 0, 256, 256), 16))
    straight = mixed(found._ready(0, derive(5, "orientation") % 4, 16), _corners, around, np.arange(256), np.arange(256), 8)
    np.testing.assert_array_equal(planes[1], straight)
    assert not np.array_equal(planes[0], planes[1])


def _corners(down: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tops, lefts = drawn(5, down, right, SIDE // 16)
    return tops, lefts


def test_inside_a_brick_are_no_bricks(tmp_path: Path) -> None:
    found = several(tmp_path / "a.zip", {"wall": ("brick",), "grey": ("concrete",), "plank": ("wood",)})
    words = np.full(384, 384**-0.5, np.float32)
    for seed in range(20):
        assert [found.names[found.nearest(words, "brick", seed, generation)] for generation in range(3)] == ["wall", "grey", "grey"]
        assert found.names[found.nearest(words, "wood", seed, 1)] == "plank"


def test_a_lender_is_named_where_a_surface_is_lent(pocket: Pocket) -> None:
    assert pocket.lender("old wood", 3, 4.0) == ""
    assert pocket.lender("old wood", 3, 16.0) == pocket.lender("grey wood, smooth", 3, 256.0) == "n0 (n0)"


def test_the_step_that_has_no_surface_invents_less_itself(pocket: Pocket, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, plain = [], pocket._code
    monkeypatch.setattr(pocket, "_code", lambda embedding, creativity: codes.append(creativity) or plain(embedding, creativity))
    for scale in (4.0, 16.0):
        pocket.upscale_at(picture, "rock", noise=NoiseField(1, scale), origin=(0, 0))
    assert codes == [FIRST, 1.0]


def test_a_quiet_surface_is_fainter_while_it_is_small(tmp_path: Path) -> None:
    loud, quiet = (several(tmp_path / f"{name}.zip", {"a": (name,)}) for name in ("wood", "quiet"))
    for found in (loud, quiet):
        found._read[0] = np.random.default_rng(0).integers(-60, 60, (SIDE, SIDE)).astype(np.int8)
    ratios = [quiet._strength(0, shrink) / loud._strength(0, shrink) for shrink in (16, 4, 1)]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.1)
    assert ratios[1] < 0.7 * ratios[2]
    contrast = float(loud.texture(0).std())
    assert contrast > exemplars._STRONGEST
    assert loud._strength(0, 1) == pytest.approx(exemplars._STRONGEST / contrast)
    assert loud._strength(0, 16) < 0.75 * loud._strength(0, 4) == 0.75 * loud._strength(0, 1)


def test_the_examples_of_the_page_bring_up_what_they_say() -> None:
    shelf = Pocket(threads=1)
    assert "grass" in shelf.lender("moss, fur, tan, cat", 0, 256.0)  # a user's word before a tagger's
    assert "leather" in shelf.lender("leather", 0, 256.0)
    assert "rock" in shelf.lender("lava, fur, tan, cat", 0, 256.0)
    assert "rusty" in shelf.lender("rust, fur, tan, cat", 0, 256.0)  # no material's name, and near one
    assert "fur" in shelf.lender("tabby, fur, tan, cat", 0, 256.0)
    assert "leather" in shelf.lender("petals, purple", 0, 256.0)


def test_petals_borrow_from_skin(tmp_path: Path) -> None:
    words = np.full(384, 384**-0.5, np.float32)
    found = several(tmp_path / "a.zip", {"a": ("leaves",), "b": ("skin",)})
    picks = {prompt: found.names[found.nearest(words, prompt)] for prompt in ("petals, purple", "a petal", "leaves", "leaves, petals")}
    assert picks == {"petals, purple": "b", "a petal": "b", "leaves": "a", "leaves, petals": "a"}
    assert several(tmp_path / "b.zip", {"a": ("leaves",)}).nearest(words, "petals") == 0


def test_the_users_words_count_first(pocket: Pocket) -> None:
    assert pocket.lender("stone wall, grey, soft, wood,", 3, 16.0) == "n0 (n0)"
    assert pocket.lender("stone wall, grey, soft, wood", 3, 16.0) == "n1 (n1)"


@pytest.mark.parametrize("option", [{"creativity": 1.5}, {"creativity": -0.1}, {"threads": 0}, {"precision": "f16"}])
def test_bad_options(option: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Pocket(**option)  # type: ignore[arg-type]


def test_broken_files_are_named(tmp_path: Path, files: tuple[str, str]) -> None:
    broken = tmp_path / "x.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        Pocket(weights=str(broken), exemplars=files[1]).check()
    with pytest.raises(WeightsError, match="nothing"):
        Pocket(weights=files[0], exemplars=str(tmp_path / "nothing.zip")).check()
