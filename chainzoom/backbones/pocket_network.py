"""The pocket generator as an OpenVINO network, built from its safetensors file; what ``training.pocket.generator`` is in torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import BackendError, WeightsError

FIELD_GAIN = 8.0
"""Brings an exemplar's contrast to that of noise."""
LUMA = (0.3, 0.59, 0.11)
DARKEST, FAINTEST, HEADROOM = 0.1, 0.35, 1.6
"""Of the shading by a field: what black still gets, what white keeps, and how fast it rises from there."""

SHARE = 2.4
"""What the network lends of a field, about: it learnt 1.6 to 2.7, by the words."""

Array = NDArray[np.float32]
Network = Callable[[Sequence[Array]], Array]


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels, residual blocks and planes of white noise at 1x, 2x and 4x of the input's resolution; length of a sentence embedding."""

    widths: tuple[int, int, int]
    blocks: tuple[int, int, int]
    noise: tuple[int, int, int]
    words: int

    @property
    def planes(self) -> tuple[int, int, int]:
        """Planes of field and noise together."""
        a, b, c = self.noise
        return 16 + a, 4 + b, 1 + c

    @property
    def reach(self) -> int:
        """How far, in input pixels, an output pixel sees: every 3x3 convolution adds one pixel of its resolution."""
        convolutions = (1 + 2 * self.blocks[0], 1 + 2 * self.blocks[1], 2 + 2 * self.blocks[2])
        return int(np.ceil(sum(count / 2**level for level, count in enumerate(convolutions)))) + 1


def shading(light: Array) -> Array:
    """Contrast that a field of contrast 1 has where the picture's luma is ``light``; what ``_graph`` does to every colour."""
    kept = np.clip(FAINTEST + HEADROOM - HEADROOM * light, FAINTEST, 1)
    return np.asarray(SHARE * (light + DARKEST) * kept, np.float32)


def read(path: Path) -> tuple[Shape, dict[str, Array]]:
    """The shape and the tensors (as float32). Raises WeightsError for a missing file or one that is no pocket generator."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            notes = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118 - it is no dict
        found = json.loads(notes["shape"])
        shape = Shape(tuple(found["widths"]), tuple(found["blocks"]), tuple(found["noise"]), int(found["words"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is not a pocket generator ({error!r}); give a file that `chainzoom train pocket` exported") from None
    return shape, tensors


def load(shape: Shape, tensors: dict[str, Array], precision: str, threads: int) -> Network:
    """A network from [image (1, 3, h, w), words (1, words + 1), field and noise at 1x, 2x and 4x] to the raw (1, 3, 4h, 4w).

    Not safe to call from two threads at once. Raises WeightsError when a tensor is missing, BackendError without OpenVINO.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise BackendError(f"the pocket backbone needs the OpenVINO runtime ({error}): pip install openvino") from None
    try:
        model = _graph(shape, tensors)
    except KeyError as error:
        raise WeightsError(f"the pocket generator's file lacks the tensor {error}; it is incomplete or of another version") from None
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,
    }
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()

    def run(inputs: Sequence[Array]) -> Array:
        made: Array = request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)[0]
        return made

    return run


def _graph(shape: Shape, tensors: dict[str, Array]) -> Any:
    import openvino as ov
    from openvino import opset13 as op

    def linear(x: Any, name: str) -> Any:
        return op.add(op.matmul(x, op.constant(tensors[f"{name}.weight"]), False, True), op.constant(tensors[f"{name}.bias"][None]))

    def conv(x: Any, name: str, pad: int = 1) -> Any:
        x = op.convolution(x, op.constant(tensors[f"{name}.weight"]), [1, 1], [pad, pad], [pad, pad], [1, 1])
        return op.add(x, op.constant(tensors[f"{name}.bias"].reshape(1, -1, 1, 1))) if f"{name}.bias" in tensors else x

    def leaky(x: Any) -> Any:
        return op.prelu(x, op.constant(np.array([0.2], np.float32)))

    two, axes = op.constant(np.array([2, 2], np.float32)), op.constant(np.array([2, 3], np.int64))
    image = op.parameter([1, 3, -1, -1], np.float32, name="image")
    words = op.parameter([1, shape.words + 1], np.float32, name="words")
    noise = [op.parameter([1, planes, -1, -1], np.float32, name=f"noise{1 << level}") for level, planes in enumerate(shape.planes)]
    code = leaky(linear(leaky(linear(words, "words.0")), "words.2"))
    x = conv(op.concat([op.subtract(op.multiply(image, np.float32(4)), np.float32(2)), noise[0]], 1), "enter")
    for level, (width, count) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        if level:
            x = op.interpolate(x, two, "nearest", "scales", coordinate_transformation_mode="asymmetric", nearest_mode="floor", axes=axes)
            x = conv(x, f"grow.{level - 1}")
        for number in range(count):
            name = f"stages.{level}.{number}"
            film = op.reshape(linear(code, f"{name}.film"), op.constant(np.array([1, 2 * width, 1, 1])), False)
            gain, shift = op.split(film, op.constant(np.int64(1)), 2).outputs()
            y = conv(leaky(x), f"{name}.first")
            y = op.add(op.add(op.multiply(y, op.add(gain, np.float32(1))), shift), conv(noise[level], f"{name}.noise", 0))
            x = op.add(x, conv(leaky(y), f"{name}.second"))
    share = op.reshape(linear(code, "borrow"), op.constant(np.array([1, 3, 1, 1])), False)
    field = op.slice(noise[2], *(op.constant(np.array([value])) for value in (0, 1, 1, 1)))
    four = op.constant(np.array([4, 4], np.float32))
    under = op.interpolate(image, four, "linear_onnx", "scales", coordinate_transformation_mode="half_pixel", axes=axes)
    light = op.convolution(under, op.constant(np.array(LUMA, np.float32).reshape(1, 3, 1, 1)), [1, 1], [0, 0], [0, 0], [1, 1])
    kept = op.clamp(op.subtract(np.float32(FAINTEST + HEADROOM), op.multiply(light, np.float32(HEADROOM))), FAINTEST, 1.0)
    lent = op.multiply(op.multiply(field, op.divide(share, np.float32(FIELD_GAIN))), op.multiply(op.add(under, np.float32(DARKEST)), kept))
    # What follows the last convolution stays in float32 when the rest is bfloat16.
    return ov.Model([op.add(op.multiply(conv(leaky(x), "leave"), np.float32(0.25)), lent)], [image, words, *noise], "pocket")
