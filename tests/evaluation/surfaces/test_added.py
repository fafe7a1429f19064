"""The whole of ``chainzoom eval --textures``: runs, figures, tables, pictures, resume and report, with a toy that obeys words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("pyarrow")

from chainzoom import registry
from chainzoom.backbones.base import BackboneFacts
from chainzoom.cli import main
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.plan import read_plan
from chainzoom.evaluation.surfaces.inputs import blurred, named_materials
from chainzoom.evaluation.surfaces.plans import read_choices
from chainzoom.evaluation.surfaces.run import run_added
from chainzoom.evaluation.surfaces.words import count_named
from chainzoom.images import Image, clip, resize
from chainzoom.registry import Entry
from tests.conftest import natural
from tests.evaluation.conftest import save
from tests.evaluation.surfaces.conftest import MATERIALS, prepare, surface


class Obedient:
    """Lays the prompted pattern over the enlarged picture, a little differently for each seed."""

    facts = BackboneFacts("obedient", 4, 1, 1, True, True)

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """See Backbone."""
        big = resize(image, (image.shape[1] * 4, image.shape[0] * 4), "bicubic")
        word = next((name for name in MATERIALS if name in prompt), None)
        if word is None:
            return clip(big)
        made = surface(word, max(big.shape[:2]), seed % 1000)[: big.shape[0], : big.shape[1]]
        return clip(big + made - made.mean((0, 1)))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A preset with the obedient backbone."""
    monkeypatch.setitem(registry.BACKBONES, "obedient", Entry("tests.evaluation.surfaces.test_added:Obedient", "a toy"))  # type: ignore[arg-type]
    path = tmp_path / "toy.toml"
    path.write_text('[backbone]\nname = "obedient"\n[chain]\nconsistency = 0.0\n')
    return path


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for k in range(2):
        save(folder / f"p{k}.png", 256, 256, seed=k)
    (folder / "materials.json").write_text('{"p0": "waves", "p1": "noise"}')
    return folder


def test_from_photos_to_tables(
    toy: Path, photos: Path, network: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainzoom.evaluation.surfaces.plans.DEEPEST", 2)
    for module in ("plans", "measure"):
        monkeypatch.setattr(
            f"chainzoom.evaluation.surfaces.{module}.METRICS", ("detail", "colour-drift", "consistency-raw", "consistency-step")
        )
    monkeypatch.setattr("chainzoom.evaluation.surfaces.measure._ALONE", ("detail",))
    textures, out = prepare(tmp_path / "real", 2, 256), tmp_path / "out"
    words = ["eval", photos, "--preset", toy, "--preset", "bicubic", "--scales", "4,16", "--size", "256", "--metrics", "detail"]
    words += ["--textures", textures, "--materials", ",".join(MATERIALS), "--inputs", "2", "--perceptual-weights", tmp_path, "--out", out]
    words += ["--network", "alexnet"]
    assert run(*words) == 0
    said = capsys.readouterr()
    assert str(out / "surfaces" / "surfaces.md") in said.out
    found = json.loads((out / "surfaces" / "surfaces.json").read_text())
    assert found["materials"] == list(MATERIALS)
    assert found["skill"]["pictures"] > 0.8
    by_key = {(row["method"], row["scale"]): row for row in found["words"]}
    assert by_key["toy", 4.0]["share"]["mean"] > 0.9
    assert by_key["toy", 4.0]["shuffled"][0] == pytest.approx(0.25, abs=0.1)
    assert by_key["bicubic", 4.0]["share"]["mean"] == pytest.approx(0.25)
    rows = {(row["method"], row["scale"]): row for row in found["tables"]["textures"]}
    assert rows["toy", 4.0]["distances"]["grey"]["mean"] < rows["bicubic", 4.0]["distances"]["grey"]["mean"]
    surfaces = len(read_plan(out / "surfaces" / "textures").items)
    assert (rows["toy", 4.0]["pictures"], rows["bicubic", 4.0]["pictures"]) == (2 * surfaces, surfaces)  # two draws
    named = {(row["method"], row["scale"]): row for row in found["tables"]["named"]}
    assert named["toy", 4.0]["pictures"] == named["bicubic", 4.0]["pictures"] == 2 * len(MATERIALS)
    assert named["toy", 4.0]["distances"]["grey"]["mean"] < named["bicubic", 4.0]["distances"]["grey"]["mean"]
    plan = read_plan(out / "surfaces" / "named")
    assert [(item.name[:2], item.material) for item in plan.items] == [(name, word) for name in ("p0", "p1") for word in MATERIALS]
    assert {"detail", "consistency-raw", "consistency-step", "contrast"} <= set(rows["toy", 4.0]["medians"])
    assert [row["scale"] for row in found["tables"]["depth"] if row["method"] == "toy"] == [4, 16]
    assert found["seeds"][0]["full"] > 0
    assert found["seeds"][0]["evidence"] < found["seeds"][0]["full"]
    assert found["seeds"][0]["share"] > 0.2
    record = json.loads((out / "runs" / "toy" / "p0" / "run.json").read_text())
    assert record["user_prompt"] == "waves"
    text = (out / "surfaces" / "surfaces.md").read_text()
    assert "Raw dB" in text
    assert "Two seeds" in text
    assert (out / "surfaces" / "words-toy-256x.webp").stat().st_size > 1000
    before = (out / "surfaces" / "surfaces.json").read_text()
    monkeypatch.setattr(Obedient, "upscale", None)
    told: list[str] = []
    choices = read_choices(out)
    assert choices is not None
    run_added(read_plan(out), out, choices, told.append)
    assert told == []
    assert run("eval", out, "--report", "--perceptual-weights", tmp_path) == 0
    assert (out / "surfaces" / "surfaces.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--textures needs --perceptual-weights"),
        (("--perceptual-weights", "."), "10 materials with two groups"),
        (("--perceptual-weights", ".", "--materials", "waves,silk"), "got 'silk'"),
        (("--perceptual-weights", ".", "--parts", "worms"), "--parts takes names"),
    ],
)
def test_nonsense(
    words: tuple[str, ...], said: str, photos: Path, textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("eval", photos, "--preset", "bicubic", "--textures", textures, "--out", tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_table_of_materials_is_checked(tmp_path: Path) -> None:
    items = (Item("a", tmp_path / "a.png"), Item("b", tmp_path / "b.png"))
    assert named_materials(tmp_path, items, ("sand",)) == items
    (tmp_path / "materials.json").write_text('{"a": "sand"}')
    assert [item.material for item in named_materials(tmp_path, items, ("sand",))] == ["sand", ""]
    for text in ('{"c": "sand"}', '{"a": "silk"}', '["a"]', "{"):
        (tmp_path / "materials.json").write_text(text)
        with pytest.raises(Exception, match=r"materials\.json"):
            named_materials(tmp_path, items, ("sand",))


def test_blurred_inputs_hold_no_detail() -> None:
    picture = blurred(natural(300, 400), 256, 0, "x")
    assert picture.shape == (256, 256, 3)
    power = np.abs(np.fft.rfft2((picture.mean(axis=2) - picture.mean()) * np.outer(np.hanning(256), np.hanning(256)))) ** 2
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    assert power[radius > 1 / 8].sum() < 1e-4 * power.sum()
    assert np.array_equal(picture, blurred(natural(300, 400), 256, 0, "x"))
    assert not np.array_equal(picture, blurred(natural(300, 400), 256, 1, "x"))


def test_counting_names() -> None:
    named = np.array([[0, 1, 2, 2], [0, 1, 2, 3]])
    found = count_named("m", 4.0, named, MATERIALS, [1, 1])
    assert found.share.mean == pytest.approx(7 / 8)
    assert found.by_material == dict(zip(MATERIALS, (1.0, 1.0, 1.0, 0.5), strict=True))
    assert found.confusion[3] == (0, 0, 1, 1)
    assert found.wordless == (0, 2, 0, 0)
    assert 0.15 < found.shuffled[0] < 0.35
    same = count_named("m", 4.0, np.zeros((5, 4), dtype=int), MATERIALS, [0])
    assert same.share.mean == 0.25
    assert same.shuffled == (0.25, 0.25)
