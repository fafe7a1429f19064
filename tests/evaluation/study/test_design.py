"""The layout of a study: blinded, balanced, the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import Method
from chainzoom.evaluation.study.collect import MANIFEST, State, collect
from chainzoom.evaluation.study.design import Study, design, thinned
from chainzoom.evaluation.study.make import make_study
from tests.cli.test_zoom import FAST, call
from tests.evaluation.study.conftest import METHODS


def lay(results: Path, **changes: int) -> Study:
    scenes, _ = collect(results)
    hashes = {scene.name: {method: f"{scene.name} {method}" for method in scene.methods} for scene in scenes}
    numbers = {"raters": 24, "image_sets": 3, "text_sets": 3, "seed": 0} | changes
    return design(scenes, title="t", hashes=hashes, **numbers)


def test_sets_and_items(results: Path) -> None:
    study = lay(results)
    assert Counter(one.kind for one in study.sets) == {"image": 3, "text": 3}
    assert len({one.scene for one in study.sets}) == 6, "words are asked about other scenes than pictures"
    for one in study.sets:
        wordless = one.kind == "text" and int(one.scene[-1]) % 2
        assert sorted(method for item in one.items for method in item.methods) == sorted(METHODS[:2] if wordless else METHODS)


def test_every_rater_sees_everything_pictures_first_and_orders_differ(results: Path) -> None:
    study = lay(results)
    orders = [study.order(rater) for rater in study.raters]
    for order in orders:
        assert sorted(place for place, _ in order) == list(range(6))
        assert [study.sets[place].kind for place, _ in order] == ["image"] * 3 + ["text"] * 3
        for place, items in order:
            assert sorted(items) == list(range(len(study.sets[place].items)))
    assert len({json.dumps(order) for order in orders}) > 20


def test_every_item_stands_in_every_place_equally_often(results: Path) -> None:
    study = lay(results)
    for place, one in enumerate(study.sets):
        seen = Counter((items.index(k), k) for rater in study.raters for at, items in study.order(rater) if at == place for k in items)
        assert set(seen.values()) == {24 // len(one.items)}


def test_the_seed_decides(results: Path) -> None:
    assert lay(results) == lay(results)
    other = lay(results, seed=1)
    assert other.id != lay(results).id
    assert not set(other.raters) & set(lay(results).raters)


def test_the_key_is_read_back_whole(results: Path) -> None:
    study = lay(results)
    assert Study.from_json(json.loads(json.dumps(study.to_json()))) == study


def test_codes_survive_a_slip_of_the_finger(results: Path) -> None:
    codes = lay(results, raters=200).raters
    assert len(set(codes)) == 200
    assert min(sum(a != b for a, b in zip(one, two, strict=True)) for one in codes for two in codes if one < two) > 1


def test_equal_pictures_are_one_item(results: Path) -> None:
    scenes, _ = collect(results)
    hashes = {scene.name: {"alpha-net": "same", "beta-net": "same", "gamma-net": "other"} for scene in scenes}
    study = design(scenes, raters=2, image_sets=1, text_sets=0, seed=0, title="t", hashes=hashes)
    assert sorted(item.methods for item in study.sets[0].items) == [("alpha-net", "beta-net"), ("gamma-net",)]
    for scene in hashes:
        hashes[scene]["gamma-net"] = "same"
    with pytest.raises(OptionError, match="nothing to compare"):
        design(scenes, raters=2, image_sets=1, text_sets=0, seed=0, title="t", hashes=hashes)


@pytest.mark.parametrize("changes", [{"raters": 0}, {"raters": 10**6}, {"image_sets": 0, "text_sets": 0}, {"image_sets": -1}])
def test_impossible_numbers(results: Path, changes: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        lay(results, **changes)


def test_long_chains_are_thinned_and_keep_their_end() -> None:
    states = [State(2.0**k, Path("x"), "") for k in range(1, 13)]
    kept = thinned(states)
    assert len(kept) == 6
    assert kept[-1] is states[-1]
    assert thinned(states[:4]) == states[:4]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "x"}', '{"schema": "chainzoom.study.manifest/1", "photos": [{}]}'])
def test_bad_manifests(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(OutputError, match="manifest"):
        collect(tmp_path)


def test_run_folders(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Methods are told apart, and named, by what differs between their runs."""
    for name, options in (
        ("a", ["--preset", "bicubic", "--seed", "1"]),
        ("b", ["--preset", "bicubic", "--mode", "nearest", "--seed", "1"]),
        ("again", ["--preset", "bicubic", "--seed", "1"]),
    ):
        base = ["zoom", photo_file, "--to", "16", "--size", "64", "--no-report", "--out", tmp_path / name, *options]
        assert call(*base, capsys=capsys)[0] == 0
    call("zoom", photo_file, "--at", "0.2,0.2", "--to", "16", "--out", tmp_path / "c", "--no-report", *FAST, capsys=capsys)
    with pytest.raises(
        OutputError, match="by all of bicubic multiscale size=128 seed=0, bicubic multiscale size=64 seed=1, bicubic nearest"
    ):
        collect(tmp_path)


def test_runs_of_two_methods(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, mode in (("a", "bicubic"), ("b", "nearest"), ("c", "nearest")):
        base = ["zoom", photo_file, "--to", "16", "--size", "64", "--no-report", "--preset", "bicubic", "--mode", mode]
        assert call(*base, "--out", tmp_path / "runs" / name, capsys=capsys)[0] == 0
    record = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    (tmp_path / "runs" / "cut").mkdir()
    (tmp_path / "runs" / "cut" / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    scenes, notes = collect(tmp_path)
    assert [sorted(scene.methods) for scene in scenes] == [["bicubic bicubic", "bicubic nearest"]]
    assert scenes[0].scales == (4, 16)
    assert scenes[0].box == pytest.approx((0.5 - 2 / 256, 0.5 - 2 / 192, 0.5 + 2 / 256, 0.5 + 2 / 192), abs=0.01)
    said = " ".join(notes)
    assert "not valid JSON" in said
    assert "interrupted" in said
    assert "already" in said
    study, paths, _ = make_study(tmp_path / "runs", tmp_path / "study", raters=2)
    assert [one.kind for one in study.sets] == ["image"], "these presets have no words"
    assert all(path.exists() for path in paths)


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="two or more methods"):
        collect(tmp_path)
    with pytest.raises(OutputError, match="expected a folder"):
        collect(tmp_path / "missing")


def test_the_results_of_an_evaluation(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Methods carry the evaluation's labels, and only the scales that it is about are shown."""
    rows = (Method("bicubic", "Bicubic", "bicubic", {}), Method("bicubic-nearest", "Nearest", "bicubic", {"mode": "nearest"}))
    plan = EvalPlan({"name": "d"}, (Item("photo", photo_file),), rows, (4.0, 64.0), ("psnr",), "native", 64)
    plan.write(tmp_path)
    for row in rows:
        mode = ["--mode", "nearest"] if row.changes else []
        base = ["zoom", photo_file, "--to", "64", "--size", "64", "--no-report", "--preset", "bicubic", *mode]
        assert call(*base, "--out", plan.run_folder(tmp_path, row, plan.items[0]), capsys=capsys)[0] == 0
    scenes, notes = collect(tmp_path)
    assert notes == []
    assert [(sorted(scene.methods), scene.scales) for scene in scenes] == [(["Bicubic", "Nearest"], (4, 64))]
