"""Two processes on the CPU: one set of weights, the samples shared out, and the same losses after a kill."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for package in ("diffusers", "peft", "accelerate", "tensorboard"):
    pytest.importorskip(package)
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("torch was built without gloo", allow_module_level=True)

from chainzoom.training.runs import read_log
from tests.training.sr.tiny_training import GOLDEN, configuration

_RUN = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from chainzoom.training.sr.config import load_config
from chainzoom.training.sr.trainer import Trainer
config, text = load_config(Path(sys.argv[1]))
trainer = Trainer(config, text, resume=len(sys.argv) > 2)
trainer.run()
total = sum(float(parameter.detach().double().abs().sum()) for parameter in trainer.recipe.kept().values())
Path(config.out, f"sum-{trainer.world.process_index}").write_text(f"{trainer.world.num_processes} {total!r}")
torch.distributed.destroy_process_group()
"""


def launch(script: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_one_network_and_resume(photos: Path, tmp_path: Path) -> None:
    script, file, out = tmp_path / "run.py", tmp_path / "c.toml", tmp_path / "run"
    script.write_text(_RUN)
    file.write_text(configuration(GOLDEN, photos, out, steps=2, save_every=1, optimiser__lr=1e-3))
    launch(script, str(file))
    sums = [(out / f"sum-{rank}").read_text() for rank in range(2)]
    assert sums[0] == sums[1]
    assert sums[0].startswith("2 ")
    wanted = read_log(out)
    shutil.rmtree(out / "checkpoints" / "step-000002")
    launch(script, str(file), "--resume")
    assert [(out / f"sum-{rank}").read_text() for rank in range(2)] == sums
    assert read_log(out) == wanted
