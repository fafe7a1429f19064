"""Reading networks stored as ncnn's ``.param`` (text) and ``.bin`` (weights) files, as far as RRDBNet needs.

The text: a magic number, the counts of layers and blobs, then one layer a line: kind, name, number of inputs and outputs, their names,
``key=value`` settings. The binary: for each convolution a 4-byte tag, the kernel as float16 padded to 4 bytes, the bias as float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import WeightsError

_MAGIC = "7767517"
_FLOAT16 = 0x01306B47
_KINDS = frozenset({"Input", "Convolution", "Split", "Concat", "Eltwise", "BinaryOp", "Interp"})
# 3x3, stride and dilation 1, padding 1, with bias: all that RRDBNet has; the numbers are ncnn's setting ids.
_CONVOLUTION = {"1": "3", "2": "1", "3": "1", "4": "1", "5": "1"}
_SUM = {"BinaryOp": {"0": "0"}, "Eltwise": {"0": "1"}, "Interp": {"0": "1", "1": "2.000000e+00", "2": "2.000000e+00"}}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer; a convolution carries ``kernel`` (out, in, 3, 3) float16 and ``bias`` (out,) float32.

    ``slope`` is that of a leaky ReLU behind a convolution (None: no activation); ``factors`` scale the inputs of a sum.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernel: NDArray[np.float16] | None = None
    bias: NDArray[np.float32] | None = None
    slope: float | None = None
    factors: tuple[float, ...] = ()


def read(param: Path, weights: Path) -> list[Layer]:
    """The layers in the order of evaluation, checked for completeness; WeightsError when a file is missing, cut off or something else."""
    try:
        lines = param.read_text(encoding="ascii").split("\n")
        blob = np.fromfile(weights, np.uint8)
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"expected an ncnn network in {param.name} and {weights.name}, got: {error}; reinstall the package") from None
    try:
        if lines[0].strip() != _MAGIC:
            raise ValueError(f"it does not begin with {_MAGIC}")
        rows = [line.split() for line in lines[2:] if line.strip()]
        if len(rows) != int(lines[1].split()[0]):
            raise ValueError(f"it announces {lines[1].split()[0]} layers and holds {len(rows)}")
        return _layers(rows, blob)
    except (ValueError, IndexError, KeyError) as error:
        raise WeightsError(f"expected a whole ncnn network in {param.name} and {weights.name}: {error}; reinstall the package") from None


def flops(layers: list[Layer], height: int, width: int) -> int:
    """Floating-point operations of the convolutions (a multiply-add is two) for an input of ``height`` x ``width``."""
    total, pixels = 0, height * width
    for layer in layers:
        if layer.kind == "Interp":
            pixels *= 4
        if layer.kernel is not None:
            total += 2 * layer.kernel.size * pixels
    return total


def _layers(rows: list[list[str]], blob: NDArray[np.uint8]) -> list[Layer]:
    layers, known, at = [], set[str](), 0
    for row in rows:
        kind, ins, outs = row[0], int(row[2]), int(row[3])
        inputs, outputs = tuple(row[4 : 4 + ins]), tuple(row[4 + ins : 4 + ins + outs])
        settings = dict(word.split("=", 1) for word in row[4 + ins + outs :])
        if kind not in _KINDS:
            raise ValueError(f"layer {row[1]} is of the unknown kind {kind}")
        if missing := set(inputs) - known:
            raise ValueError(f"layer {row[1]} wants {sorted(missing)}, which nothing makes")
        for key, value in _SUM.get(kind, {}).items():
            if settings.get(key, "0") != value:
                raise ValueError(f"layer {row[1]} ({kind}) has setting {key}={settings.get(key, '0')}, expected {value}")
        known.update(outputs)
        if kind == "Convolution":
            kernel, bias, at = _convolution(row[1], settings, blob, at)
            slope = float(settings["-23310"].split(",")[1]) if settings.get("9", "0") == "2" else None
            layers.append(Layer(kind, inputs, outputs, kernel, bias, slope))
        else:
            factors = tuple(float(f) for f in settings["-23301"].split(",")[1:]) if "-23301" in settings else ()
            layers.append(Layer(kind, inputs, outputs, factors=factors))
    if at != blob.size:
        raise ValueError(f"{blob.size - at} bytes of weights are left over")
    return layers


def _convolution(
    name: str, settings: dict[str, str], blob: NDArray[np.uint8], at: int
) -> tuple[NDArray[np.float16], NDArray[np.float32], int]:
    out, count = int(settings["0"]), int(settings["6"])
    if any(settings.get(key, "1") != value for key, value in _CONVOLUTION.items()) or settings.get("9", "0") not in ("0", "2"):
        raise ValueError(f"convolution {name} is no 3x3 one with padding 1 and a leaky ReLU or none")
    bias_at = at + 4 + (2 * count + 3) // 4 * 4
    end = bias_at + 4 * out
    if end > blob.size:
        raise ValueError(f"the weights end within {name}")
    if int(blob[at : at + 4].view(np.uint32)[0]) != _FLOAT16:
        raise ValueError(f"the weights of {name} are not float16")
    kernel = blob[at + 4 : at + 4 + 2 * count].view(np.float16).reshape(out, -1, 3, 3)
    bias = blob[bias_at:end].view(np.float32)
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise ValueError(f"the weights of {name} are not finite")
    return kernel, bias, end
