"""Distance to real surfaces and named materials, with made-up surfaces and a small random network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.moments import DESIGNS, Moments
from chainzoom.evaluation.surfaces.judge import Judge
from chainzoom.evaluation.surfaces.patches import cut, cut_scaled, look_at
from chainzoom.evaluation.surfaces.recognition import cross_validate, fit
from chainzoom.evaluation.surfaces.textures import choose_materials, read_textures
from chainzoom.images import resize
from tests.conftest import natural
from tests.evaluation.surfaces.conftest import MATERIALS, surface


@pytest.fixture
def judge(textures: Path, network: dict[str, Any], tmp_path: Path) -> Judge:
    return Judge(textures, tmp_path, tmp_path / "store", materials=MATERIALS, network="alexnet")


def states(count: int = 3) -> tuple[list[np.ndarray], list[str], list[str]]:
    made = [(surface(m, 160, 70 + 7 * k), f"{m}{k}", m) for m in MATERIALS for k in range(count)]
    return [s for s, _, _ in made], [n for _, n, _ in made], [m for _, _, m in made]


def test_moments_are_those_of_the_layers(network: dict[str, Any], tmp_path: Path) -> None:
    picture = natural(64, 80, 3)
    found = Moments(tmp_path).features([picture, natural(64, 80, 4)])
    x = (picture - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    kernel, bias = network["Conv_0"]["kernel"], network["Conv_0"]["bias"]
    rows, columns = (x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1
    first = np.array(
        [[np.tensordot(x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3], kernel, 3) + bias for j in range(columns)] for i in range(rows)]
    )
    first = np.maximum(first, 0)
    assert found.shape == (2, 2 * (12 + 16))
    np.testing.assert_allclose(found[0, :12], first.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0, 28:40], first.std((0, 1)), rtol=1e-4, atol=1e-5)


def test_both_designs_are_whole() -> None:
    assert [sum(layer.taken for layer in d.layers) for d in DESIGNS.values()] == [5, 5]
    assert [len(d.layers) for d in DESIGNS.values()] == [5, 13]
    assert all(len(kind) == len(d.widths) for d in DESIGNS.values() for kind in d.natural)


def test_pictures_of_several_sizes_are_refused(network: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="of one size"):
        Moments(tmp_path).features([natural(64, 64), natural(64, 80)])
    with pytest.raises(OptionError, match="got vgg19"):
        Moments(tmp_path, "vgg19")  # type: ignore[arg-type]


def test_the_grey_look_knows_neither_colour_nor_contrast() -> None:
    picture = natural(128, 128)
    tinted = (picture * np.float32(0.3) + np.array([0.5, 0.1, 0.3], np.float32)).astype(np.float32)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    a, b = look_at(grey, "grey"), look_at((grey * np.float32(0.3) + np.float32(0.4)), "grey")
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.ptp(look_at(tinted, "grey"), axis=2).max() == 0
    assert look_at(tinted, "colour") is tinted


def test_contrast_that_cannot_be_seen_is_not_blown_up() -> None:
    plane = np.full((128, 128, 3), 0.5, np.float32)
    plane[::2] += np.float32(0.5 / 255)
    assert look_at(plane, "grey").std() < 0.03


def test_patches_follow_from_seed_and_name() -> None:
    picture = natural(200, 300)
    for how in (cut, cut_scaled):
        a, again, other = how(picture, 3, 0, "x"), how(picture, 3, 0, "x"), how(picture, 3, 0, "y")
        assert all(patch.shape == (128, 128, 3) for patch in a)
        assert all(np.array_equal(p, q) for p, q in zip(a, again, strict=True))
        assert not np.array_equal(a[0], other[0])
    assert cut(natural(100, 300), 1, 0, "x")[0].shape == (128, 128, 3)


def test_states_like_the_real_ones_are_near_and_others_are_not(judge: Judge) -> None:
    pictures, names, materials = states()
    near = judge.distance(pictures, names, materials)
    blurred = [resize(resize(p, (20, 20)), (160, 160)) for p in pictures]
    far = judge.distance(blurred, names, materials)
    swapped = judge.distance(pictures, names, [*materials[3:], *materials[:3]])
    assert near.low < near.mean < near.high < far.low
    assert near.high < swapped.mean
    assert near.count == 12


def test_a_material_with_one_input_is_compared_too(judge: Judge) -> None:
    pictures, names, materials = states(1)
    assert judge.distance(pictures, names, materials).count == 4


def test_materials_are_named(judge: Judge) -> None:
    pictures, names, materials = states()
    assert judge.skill.pictures > 0.9
    assert judge.skill.groups == 12
    assert set(judge.skill.by_material) == set(MATERIALS)
    assert np.mean([a == b for a, b in zip(judge.recognised(pictures, names), materials, strict=True)]) > 0.9


def test_real_pictures_are_near_real_pictures(judge: Judge) -> None:
    _, names, materials = states()
    floor = judge.floor()
    flat = judge.distance([np.full((160, 160, 3), 0.5, np.float32)] * 12, names, materials)
    assert floor.halves.mean < flat.mean / 3
    assert floor.train.mean < flat.mean / 3


def test_features_are_made_once(judge: Judge, textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = judge.real().rows
    monkeypatch.setattr(Moments, "features", None)
    again = Judge(textures, tmp_path, tmp_path / "store", materials=MATERIALS, network="alexnet")
    assert np.array_equal(again.real().rows, first)
    next((tmp_path / "store").glob("*.npy")).write_bytes(b"torn")
    with pytest.raises(TypeError):
        Judge(textures, tmp_path, tmp_path / "store", materials=MATERIALS, network="alexnet").real()


def test_materials_are_those_with_most_groups(textures: Path) -> None:
    listed = read_textures(textures)
    assert choose_materials(listed, 4) == tuple(sorted(MATERIALS))
    fewer = [one for one in listed if one.materials != ("noise",) or one.group.endswith("0")]
    assert "noise" not in choose_materials(fewer, 3)
    with pytest.raises(OptionError, match="10 materials with two groups"):
        choose_materials(listed)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no prepared folder"):
        read_textures(tmp_path)
    (tmp_path / "manifest.jsonl").write_text('{"file": "a.png"}\n')
    with pytest.raises(OptionError, match="line 1"):
        read_textures(tmp_path)


def test_recognition_by_chance_stays_at_chance() -> None:
    random = np.random.default_rng(5)
    features = np.abs(random.standard_normal((240, 30)))
    labels = [str(k % 4) for k in range(240)]
    groups = [k // 2 for k in range(240)]
    skill = cross_validate(features, [str((g // 2) % 4) for g in groups], groups)
    assert skill.patches < 0.45
    assert fit(features, labels).materials == ("0", "1", "2", "3")


def test_rare_materials_count_alike() -> None:
    random = np.random.default_rng(6)
    common, rare = np.abs(random.standard_normal((200, 10))) + 1, np.abs(random.standard_normal((10, 10))) + 1.6
    found = fit(np.concatenate([common, rare]), ["common"] * 200 + ["rare"] * 10).names(rare)
    assert found.count("rare") >= 8


def test_too_few_groups_are_said() -> None:
    with pytest.raises(OptionError, match="two groups of every material"):
        cross_validate(np.ones((4, 3)), ["a", "a", "b", "b"], [0, 0, 1, 2])
