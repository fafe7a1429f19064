"""Whole runs: a tiny model learns, a killed run goes on as if nothing had happened, and what goes wrong stops with a message."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("diffusers", "peft", "accelerate", "tensorboard"):
    pytest.importorskip(package)

from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.errors import OptionError, OutputError
from chainzoom.images import psnr
from chainzoom.prompters.base import Prompt
from chainzoom.training.loop import TrainingStoppedError
from chainzoom.training.runs import read_log, saved_steps
from chainzoom.training.sr import trainer as trainer_module
from chainzoom.training.sr.config import parse_config
from chainzoom.training.sr.recipes import build_recipe
from chainzoom.training.sr.trainer import Trainer, train
from tests.backbones.tiny_models import CASES
from tests.conftest import read8
from tests.training.sr.tiny_training import configuration, learnable_sd3, vgg_files

MODEL = CASES[0] / "model"


@pytest.fixture(scope="module")
def learnable(tmp_path_factory, photos: Path) -> Path:
    return learnable_sd3(tmp_path_factory.mktemp("learnable") / "model", photos)


def start(model: Path, photos: Path, out: Path, *, resume: bool = False, say=lambda line: None, prompter=None, **changes) -> Trainer:
    text = configuration(model, photos, out, **changes)
    return Trainer(parse_config(text), text, resume=resume, say=say, prompter=prompter)


def losses(out: Path) -> dict[int, float]:
    return {entry["step"]: entry["loss/total"] for entry in read_log(out) if "loss/total" in entry}


def test_overfits_four_pictures_and_the_backbone_shows_the_same(learnable: Path, photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = start(
        learnable, photos, tmp_path / "run", say=said.append,
        steps=36, batch=4, data__flip=False, optimiser__lr=3e-3, loss__vsd=0.01, validation__every=36,
    )  # fmt: skip
    run.run()
    l2 = [entry["loss/l2"] for entry in read_log(tmp_path / "run") if "loss/l2" in entry]
    assert len(l2) == 36
    assert np.mean(l2[-3:]) < l2[0] / 10
    assert any("ETA" in line for line in said)
    export = tmp_path / "run" / "export" / "step-000036"
    backbone = OSEDiffSD3.from_files(learnable, export / "model_36.pkl", export / "vae_encoder_36.pt")
    pictures = tmp_path / "run" / "pictures" / "step-000036"
    for number in range(4):
        ours = backbone.upscale(read8(pictures / f"{number}-input.png"), "", seed=0)
        shown = read8(pictures / f"{number}-output.png")
        assert psnr(ours, shown) > 50
        assert psnr(shown, read8(pictures / f"{number}-truth.png")) > psnr(read8(pictures / f"{number}-input.png"), shown)
    before, after = (entry for entry in read_log(tmp_path / "run") if "validation/psnr" in entry)
    assert after["validation/psnr"] > before["validation/psnr"] + 6
    assert "validation/consistency-step" in after


_KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from chainzoom.training.loop import Progress
from chainzoom.training.sr.config import load_config
from chainzoom.training.sr.recipes import build_recipe
from chainzoom.training.sr.trainer import Trainer
step = Progress.step
def kill(self, number, *rest):
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number, *rest)
Progress.step = kill
config, text = load_config(Path(sys.argv[1]))
Trainer(config, text).run()
"""


def test_a_killed_run_goes_on_as_if_undisturbed(photos: Path, tmp_path: Path) -> None:
    changes = {"steps": 6, "accumulation": 2, "save_every": 2, "degradation": "realesrgan", "optimiser__lr": 1e-3}
    start(MODEL, photos, tmp_path / "whole", **changes).run()
    wanted = losses(tmp_path / "whole")
    assert len(wanted) == 6
    file = tmp_path / "killed.toml"
    file.write_text(configuration(MODEL, photos, tmp_path / "killed", **changes))
    done = subprocess.run([sys.executable, "-c", _KILLED, str(file), "3"], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert saved_steps(tmp_path / "killed" / "checkpoints") == [2]
    assert list(losses(tmp_path / "killed")) == [1, 2, 3]
    said: list[str] = []
    start(MODEL, photos, tmp_path / "killed", resume=True, say=said.append, **changes).run()
    assert "resumed at step 2" in said
    assert losses(tmp_path / "killed") == wanted
    ends = [
        torch.load(tmp_path / name / "checkpoints" / "step-000006" / "state.pt", weights_only=True)["weights"]
        for name in ("whole", "killed")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_killed_before_the_first_checkpoint(photos: Path, tmp_path: Path) -> None:
    start(MODEL, photos, tmp_path / "run")  # the folder is there, nothing was saved
    start(MODEL, photos, tmp_path / "run", resume=True).run()
    assert list(losses(tmp_path / "run")) == [1, 2]


def test_oraclezoom_resumes_with_its_teacher(photos: Path, tmp_path: Path) -> None:
    changes = {
        "recipe": "oraclezoom",
        "loss__lpips": 1.0,
        "data__crop": 64,
        "network__rank": 2,
        "steps": 2,
        "save_every": 1,
        "optimiser__lr": 1e-2,
        **vgg_files(tmp_path),
    }
    start(MODEL, photos, tmp_path / "whole", **changes).run()
    first = start(MODEL, photos, tmp_path / "halves", **changes)
    first.config = replace(first.config, stages=(replace(first.config.stages[0], steps=1),))
    first.run()
    text = configuration(MODEL, photos, tmp_path / "halves", **changes)
    state = tmp_path / "halves" / "checkpoints" / "step-000001" / "state.pt"
    content = torch.load(state, weights_only=True)
    content["config"] = parse_config(text).essence()  # as if it had been stopped, not told to end
    torch.save(content, state)
    start(MODEL, photos, tmp_path / "halves", resume=True, **changes).run()
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert (tmp_path / "whole" / "export" / "step-000002" / "adapter" / "adapter_config.json").exists()


def test_resume_refuses_what_would_not_be_the_same_run(photos: Path, tmp_path: Path) -> None:
    start(MODEL, photos, tmp_path / "run").run()
    with pytest.raises(OutputError, match="--resume"):
        start(MODEL, photos, tmp_path / "run")
    with pytest.raises(OptionError, match=r"optimiser\.lr"):
        start(MODEL, photos, tmp_path / "run", resume=True, optimiser__lr=1.0)
    with pytest.raises(OutputError, match="no run to resume"):
        start(MODEL, photos, tmp_path / "other", resume=True)


def test_nan_stops_and_names_the_last_good_checkpoint(photos: Path, tmp_path: Path) -> None:
    run = start(MODEL, photos, tmp_path / "run", steps=4, save_every=1)
    plain = run._optimise

    def spoilt(batches):
        if run.step == 2:
            with torch.no_grad():
                run.recipe.groups()["transformer"][0].fill_(math.nan)
        return plain(batches)

    run._optimise = spoilt
    with pytest.raises(TrainingStoppedError, match=r"stopped at step 3: .* is nan") as error:
        run.run()
    assert "step-000002" in str(error.value)
    kept = torch.load(tmp_path / "run" / "checkpoints" / "step-000002" / "state.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept["weights"].values())


def test_three_optimisers_or_one_with_three_groups(photos: Path, tmp_path: Path) -> None:
    config = parse_config(configuration(MODEL, photos, tmp_path / "run"))
    recipe = build_recipe(config, torch.device("cpu"))
    three, one = (trainer_module._optimisers(recipe, config, one=single) for single in (False, True))
    assert list(three) == ["transformer", "vae_encoder", "regulariser"]
    assert [len(group["params"]) for group in one["all"].param_groups] == [len(o.param_groups[0]["params"]) for o in three.values()]
    assert three["transformer"].defaults["weight_decay"] == 1e-2


class Counting:
    """A prompter that says which pictures it was shown."""

    name, weights = "counting", ()

    def __init__(self) -> None:
        self.views = []

    def describe(self, views):
        self.views += views
        return [Prompt(f"{'fur' if view.parent is None else 'stone'} {len(self.views)}", "counting") for view in views]


def test_prompts_are_asked_for_once_and_kept(photos: Path, tmp_path: Path) -> None:
    prompter = Counting()
    start(MODEL, photos, tmp_path / "run", steps=2, batch=4, prompter=prompter, prompts__name="tags", validation__every=2).run()
    assert len(prompter.views) == 4
    again = Counting()
    start(MODEL, photos, tmp_path / "run", resume=True, steps=2, batch=4, prompter=again, prompts__name="tags")
    assert again.views == []
    assert (tmp_path / "run" / "prompts-0.jsonl").read_text().count("\n") == 4


def test_mixed_precision_and_warmup(photos: Path, tmp_path: Path) -> None:
    start(MODEL, photos, tmp_path / "run", mixed="bf16", optimiser__warmup=4).run()
    entries = read_log(tmp_path / "run")
    assert [entry["lr"] for entry in entries] == [pytest.approx(1.25e-5), pytest.approx(2.5e-5)]
    assert all(math.isfinite(entry["loss/total"]) for entry in entries)


def test_train_returns_the_export(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = configuration(MODEL, photos, tmp_path / "run", steps=1)
    assert sorted(file.name for file in train(parse_config(text), text).iterdir()) == [
        "model_1.pkl", "transformer", "vae_encoder_1.pt", "vae_encoder_1.safetensors",
    ]  # fmt: skip
    with pytest.raises(OptionError, match="device must be"):
        trainer_module._accelerator(replace(parse_config(text), device="tpu"))
