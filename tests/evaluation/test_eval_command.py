"""The command: from a folder of pictures to a page, again from stored pictures, and every way to ask for nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("pyarrow")

from chainzoom.cli import main
from chainzoom.evaluation.ablations import ABLATIONS
from chainzoom.evaluation.protocol import parse_method


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


SMALL = ("--size", "256", "--metrics", "niqe,detail", "--scales", "4x,16")


def test_run_report_and_resume(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("eval", photos, "--preset", "bicubic", "--preset", "bicubic:mode=nearest", "--out", out, *SMALL) == 0
    said = capsys.readouterr()
    assert "1/6  bicubic  large  made" in said.err
    assert "failed" in said.err
    assert str(out / "index.html") in said.out
    table = (out / "table.md").read_text()
    plan = json.loads((out / "eval.json").read_text())
    assert plan["scales"] == [4, 16]
    assert (out / "index.html").exists()
    assert run("eval", photos, "--preset", "bicubic", "--preset", "bicubic:mode=nearest", "--out", out, *SMALL) == 0
    assert "1/6  bicubic  large  kept" in capsys.readouterr().err
    (out / "table.md").unlink()
    assert run("eval", out, "--report") == 0
    assert (out / "table.md").read_text() == table
    assert "made" not in capsys.readouterr().err


def test_more_metrics_can_be_measured_later(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("eval", photos, "--preset", "bicubic", "--out", out, "--limit", "1", *SMALL) == 0
    assert run("eval", out, "--report", "--metrics", "grid") == 0
    assert "Grid" in (out / "table.md").read_text()


def test_paper_rows_that_cannot_run_are_listed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("eval", photos, "--paper-rows", "bicubic", "--out", out, "--limit", "1", *SMALL, "--scales", "4") == 0
    plan = json.loads((out / "eval.json").read_text())
    assert "bicubic-vlm" in plan["absent"]
    assert [m["name"] for m in plan["methods"]][:3] == ["bicubic-nearest", "bicubic-onestep", "bicubic-null"]
    assert "not run: bicubic-vlm: a VLM needs its weights" in capsys.readouterr().err
    assert "not run here" in (out / "index.html").read_text()


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_every_ablation_is_one_command(name: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [
        "eval",
        photos,
        "--preset",
        "bicubic",
        "--ablation",
        name,
        "--limit",
        "1",
        "--size",
        "256",
        "--metrics",
        "detail",
        "--out",
        out,
    ]
    assert run(*words, *([] if name == "recursions" else ["--scales", "4"])) == 0
    plan = json.loads((out / "eval.json").read_text())
    assert len(plan["methods"]) == len(ABLATIONS[name].choices)
    assert plan["note"] == ABLATIONS[name].question
    if name == "recursions":
        assert plan["scales"] == [64, 256, 4096]


def test_ablations_differ_in_what_they_ask_alone() -> None:
    for ablation in ABLATIONS.values():
        methods = ablation.methods("default")
        assert len({method.name for method in methods}) == len(methods)
        settings = [parse_method("default").load().check(**method.overrides()) for method in methods]
        assert ablation is ABLATIONS["seeds"] or len(set(settings)) == len(methods)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scales", "8"), None),
        (("--scales", "8,16"), "does not pass 8x"),
        (("--scales", "one"), "expected numbers joined by commas"),
        (("--scales", "0.5"), "--scales takes numbers above 1"),
        (("--metrics", "beauty"), "got 'beauty'"),
        (("--preset", "nothing"), "unknown preset"),
        (("--preset", "bicubic:mood=1"), "--preset takes NAME"),
        (("--ablation", "align", "--preset", "bicubic", "--preset", "default"), "asked of one preset"),
        (("--split", "test"), "no splits"),
        (("--seed", "-1"), "--seed takes an integer"),
    ],
)
def test_nonsense_is_one_line_and_exit_2(
    words: tuple[str, ...], said: str | None, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = () if "--preset" in words else ("--preset", "bicubic")
    code = run("eval", photos, *preset, "--out", tmp_path / "out", "--limit", "1", "--size", "256", "--metrics", "detail", *words)
    error = capsys.readouterr().err
    if said is None:
        assert code == 0  # a shorter last step is a scale like any other
        return
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_not_written_into(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", photos, "--preset", "bicubic", "--out", photos) == 2
    assert "holds no evaluation" in capsys.readouterr().err


def test_report_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", tmp_path, "--report") == 2
    assert "is" in capsys.readouterr().err


def test_an_unfinished_evaluation_is_kept_by_ctrl_c(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from chainzoom.chain import Chain

    def stopped(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "run", stopped)
        assert run("eval", photos, "--preset", "bicubic", "--out", tmp_path / "out", *SMALL) == 130
        assert "the same command goes on" in capsys.readouterr().err
    assert run("eval", photos, "--preset", "bicubic", "--out", tmp_path / "out", *SMALL) == 0
