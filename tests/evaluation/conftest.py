"""Pictures in folders, plans, and one small finished evaluation that the tests copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.evaluation.datasets import read_dataset
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import parse_method
from chainzoom.evaluation.runner import run_missing
from tests.conftest import natural


def save(path: Path, width: int = 96, height: int = 96, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray((natural(height, width, seed) * 255).astype(np.uint8)).save(path)
    return path


def plan_of(folder: Path, *methods: str, scales: tuple[float, ...] = (4.0, 16.0), **more: object) -> EvalPlan:
    data = read_dataset(folder)
    chosen = tuple(parse_method(text) for text in methods or ("bicubic:mode=nearest", "bicubic"))
    settings = {"size": 256, "metrics": ("default",), **more}
    return EvalPlan({"name": folder.name, "layout": data.layout, "split": data.split}, data.items, chosen, scales, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files: a picture that holds true pixels at 4x, one that does not, and one that is no picture."""
    folder = tmp_path_factory.mktemp("eval") / "photos"
    save(folder / "large.png", 1100, 1040, seed=1)
    save(folder / "small.jpg", 300, 280, seed=2)
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


@pytest.fixture
def make_plan(photos: Path) -> Callable[..., EvalPlan]:
    return lambda *methods, **more: plan_of(photos, *methods, **more)


@pytest.fixture(scope="session")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvalPlan, Path]:
    """Both interpolations on the three files; not to be changed."""
    plan, out = plan_of(pictures, command="chainzoom eval <photos>", note="A & B"), tmp_path_factory.mktemp("finished") / "out"
    list(run_missing(plan, out))
    return plan, out


@pytest.fixture
def done(finished: tuple[EvalPlan, Path], tmp_path: Path) -> tuple[EvalPlan, Path]:
    """A copy of it."""
    return finished[0], Path(shutil.copytree(finished[1], tmp_path / "done"))
