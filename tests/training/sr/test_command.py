"""``chainzoom train sr`` from the outside."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for package in ("diffusers", "peft", "accelerate", "tensorboard"):
    pytest.importorskip(package)

from chainzoom.cli import main
from tests.training.sr.tiny_training import GOLDEN, configuration


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", "sr", *arguments])
    return int(ended.value.code or 0)


def test_trains_resumes_and_says_where_the_weights_are(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text(configuration(GOLDEN, photos, tmp_path / "run", steps=1))
    assert run(str(file)) == 0
    shown = capsys.readouterr()
    assert Path(shown.out.strip()) == tmp_path / "run" / "export" / "step-000001"
    assert "step 1/1" in shown.err
    assert run(str(file)) == 2
    assert "--resume" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run" / "export")  # as if killed before it was written
    assert run(str(file), "--resume") == 0
    assert "resumed at step 1" in capsys.readouterr().err
    assert (tmp_path / "run" / "export" / "step-000001" / "model_1.pkl").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss__lpips": 2.0}, "set loss.vgg"),
        ({"optimiser__bits": 8}, "bitsandbytes"),
        ({"network__model_dir": "models:nothing"}, "nothing"),
        ({"prompts__name": "nobody"}, "unknown prompter 'nobody'"),
        ({"validation__metrics": ["beauty"]}, "got 'beauty'"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(photos: Path, tmp_path: Path, capsys, changes: dict[str, object], words: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(configuration(GOLDEN, photos, tmp_path / "run", **changes))
    assert run(str(file)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("chainzoom: ")
    assert words in said
    assert not (tmp_path / "run").exists()


def test_weights_and_biases_when_it_is_not_there(photos: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainzoom.training.runs.find_spec", lambda name: None)
    file = tmp_path / "c.toml"
    file.write_text(configuration(GOLDEN, photos, tmp_path / "run", steps=1) + '[wandb]\nproject = "x"\n')
    assert run(str(file)) == 2
    assert "pip install wandb" in capsys.readouterr().err
