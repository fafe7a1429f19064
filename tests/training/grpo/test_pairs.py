"""Pairs: what the chain itself would show, the same for the same seed, validation apart from training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainzoom.chain import Chain
from chainzoom.errors import ImageError, OptionError
from chainzoom.photos import Photo
from chainzoom.presets import load_preset
from chainzoom.training.grpo import pairs as module
from chainzoom.training.grpo.config import Data
from chainzoom.training.grpo.pairs import ChainPairs, PhotoPairs, list_photos, make_pairs, seen, split
from tests.conftest import EchoPrompter
from tests.training.grpo.tiny_run import photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    photos(root / "a", 3, (400, 700))
    photos(root / "b" / "deeper", 2, (90, 70))
    (root / "b" / "notes.txt").write_text("no picture")
    return root


def data(folder: Path, **changes: object) -> Data:
    return Data(**({"photos": (str(folder / "a"), str(folder / "b")), "size": 64, "validation": 0.2} | changes))  # type: ignore[arg-type]


def test_photos_are_found_in_a_fixed_order(folder: Path) -> None:
    names = [name for name, _ in list_photos([str(folder / "a"), str(folder / "b")])]
    assert names == ["a/0.png", "a/1.png", "a/2.png", "b/deeper/0.png", "b/deeper/1.png"]


@pytest.mark.parametrize(("place", "message"), [("none", "is not there"), ("empty", "holds no pictures")])
def test_places_without_photos(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=message):
        list_photos([str(tmp_path / place)])


def test_validation_photos_are_kept_apart() -> None:
    everything = [(f"{number}.png", Path(f"{number}.png")) for number in range(500)]
    train, validation = split(everything, 0.01, seed=3)
    assert len(validation) == 5
    assert sorted(train + validation) == sorted(everything)
    assert split(everything[::-1], 0.01, seed=3) == (train, validation)
    assert split(everything, 0.01, seed=4)[1] != validation
    assert [len(split(everything[:40], 0.01, 0, wanted)[1]) for wanted in (1, 3, 8)] == [1, 3, 4]
    assert [len(part) for part in split(everything[:2], 0.01, seed=0)] == [1, 1]
    assert split(everything[:1], 0.01, seed=0) == (everything[:1], everything[:1])


def test_the_same_number_is_the_same_pair(folder: Path) -> None:
    listed = list_photos([str(folder / "a")])
    one, other = PhotoPairs(listed, 64, 7), PhotoPairs(listed, 64, 7)
    for number in (5, 0, 11):
        assert one[number].name == other[number].name
        np.testing.assert_array_equal(one[number].parent, other[number].parent)
    assert one[0].name != PhotoPairs(listed, 64, 8)[0].name


def test_every_photo_and_every_depth_come_up(folder: Path) -> None:
    made = PhotoPairs(list_photos([str(folder / "a")]), 64, 0)
    names = [made[number].name for number in range(30)]
    assert [len({name.split(" at ")[0] for name in names[turn : turn + 3]}) for turn in range(0, 30, 3)] == [3] * 10
    # 700 px shown on 64: the whole, a step between, and 1x; each is zoomed into by 4.
    scales = {round(made[number].scale, 3) for number in range(30)}
    assert scales == {round(4 * 64 / 700, 3), round(4 * (64 / 700) ** 0.5, 3), 4.0}


def test_a_pair_is_what_the_chain_shows(folder: Path) -> None:
    """At full depth the pair is the chain's own first synthesised view at that point."""
    made = PhotoPairs(list_photos([str(folder / "a")]), 64, 0)
    pair = next(made[number] for number in range(30) if made[number].scale == 4)
    name, rest = pair.name.split(" at ")
    x, y = (float(value) for value in rest.split(", ")[0].split(","))
    prompter = EchoPrompter()
    chain = load_preset("bicubic").build(size=64, mode="multiscale")
    for _ in Chain(chain.backbone, prompter, size=64).run(folder / "a" / name, at=(x, y), to=4.0):
        pass
    (view,) = prompter.views
    assert view.parent is not None
    np.testing.assert_array_equal(pair.parent, view.parent)
    np.testing.assert_array_equal(pair.crop, view.crop)


def test_damaged_photos_are_passed_over(folder: Path, tmp_path: Path) -> None:
    photos(tmp_path, 1)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    made = PhotoPairs(list_photos([str(tmp_path)]), 64, 0)
    assert {made[number].name.split(" at ")[0] for number in range(6)} == {"0.png"}
    (tmp_path / "0.png").unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        PhotoPairs(list_photos([str(tmp_path)]), 64, 0)[0]


def test_states_of_a_real_chain(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    given = data(folder, photos=(str(folder / "a"),), states="chain", preset="bicubic", zooms=2, to=16.0)
    train, validation = make_pairs(given, 5, tmp_path, said.append)
    assert isinstance(train, ChainPairs)
    assert isinstance(validation, ChainPairs)
    assert (len(train), len(validation)) == (4, 2)
    assert len(said) == 3
    assert {round(train[number].scale) for number in range(4)} == {4, 16}
    deep = next(train[number] for number in range(4) if train[number].scale == 16)
    # The parent of a deep pair is what the chain made, not a photo: bicubic, so it holds nothing fine.
    name, at = deep.name.split(" at ")
    x, y = (float(value) for value in at.split(", ")[0].split(","))
    steps = list(load_preset("bicubic").build(size=64).run(Photo.open(folder / "a" / name), at=(x, y), to=16.0))
    assert np.abs(deep.parent - steps[-2].image).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(deep.crop, seen(deep.parent, deep.move, deep.shape))


def test_zooms_are_made_once_and_a_half_made_one_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = data(folder, states="chain", preset="bicubic", zooms=2, to=4.0)
    make_pairs(given, 0, tmp_path, lambda line: None)
    (lost,) = tmp_path.glob("*/train/000001")
    lost.rename(lost.with_name(".unfinished-000001"))
    said: list[str] = []
    make_pairs(given, 0, tmp_path, said.append)
    assert said == ["zooming for train pairs: 2 of 2"]
    monkeypatch.setattr(module, "_zoom", lambda *_: pytest.fail("made again"))
    make_pairs(given, 0, tmp_path, lambda line: None)


def test_zooms_without_depth_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="to"):
        make_pairs(data(folder, states="chain", preset="bicubic", zooms=1, to=1.0), 0, tmp_path, lambda line: None)


def test_the_step_a_reward_may_make(folder: Path) -> None:
    pair = PhotoPairs(list_photos([str(folder / "a")]), 64, 0)[0]
    work = pair.work("moss")
    assert (work.prompt, work.shape, work.seed) == ("moss", pair.shape, pair.seed)
    assert pair.request().images[1].dtype == np.uint8
