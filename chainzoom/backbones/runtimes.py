"""Runtimes that evaluate an ncnn network on the CPU: OpenVINO (bfloat16 or float32) and ncnn itself.

Each runtime is a callable from (1, 3, h, w) to (1, 3, 4h, 4w) float32 and is not safe to call from two threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.ncnn_files import Layer, read
from chainzoom.errors import BackendError, OptionError

Runtime = Literal["openvino-bf16", "openvino-f32", "ncnn"]
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 natively; False where the system does not say.

    OpenVINO also lists bf16 for AVX-512 CPUs that merely emulate it, so the CPU's own flags decide.
    """
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def best_runtime() -> Runtime:
    """OpenVINO in bfloat16 where the CPU has it; else ncnn, whose Winograd kernels are faster in float32, if installed; else OpenVINO."""
    if has_bf16():
        return "openvino-bf16"
    return "ncnn" if find_spec("ncnn") else "openvino-f32"


def load(runtime: Runtime, param: Path, weights: Path, threads: int) -> Network:
    """A network ready to run; WeightsError for broken files, BackendError when the runtime is not installed."""
    if runtime not in RUNTIMES:
        raise OptionError(f"expected one of {', '.join(RUNTIMES)} as runtime, got {runtime!r}")
    layers = read(param, weights)
    if runtime == "ncnn":
        return _ncnn(param, weights, layers, threads)
    return _openvino(layers, "bf16" if runtime == "openvino-bf16" else "f32", threads)


def _openvino(layers: list[Layer], precision: str, threads: int) -> Network:
    try:
        import openvino as ov
    except ImportError as error:
        raise BackendError(f"the realesrgan backbone needs the OpenVINO runtime ({error}): pip install openvino") from None
    # Pinned threads cost nothing on a quiet machine and up to twice the time beside other work, so they are left free.
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,
    }
    compiled = ov.Core().compile_model(_graph(layers), "CPU", options)
    request = compiled.create_infer_request()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = request.infer({0: batch}, share_inputs=True, share_outputs=True)[0]
        return made

    return run


def _graph(layers: list[Layer]) -> Any:
    """The network as an OpenVINO model with free height and width, so that one compilation serves every tile shape."""
    import openvino as ov
    from openvino import opset11 as op

    blobs: dict[str, Any] = {}
    parameter = None
    two, axes = op.constant(np.array([2, 2], np.float32)), op.constant(np.array([2, 3], np.int64))
    for layer in layers:
        sources = [blobs[name] for name in layer.inputs]
        if layer.kind == "Input":
            node = parameter = op.parameter([1, 3, -1, -1], np.float32)
        elif layer.kernel is not None and layer.bias is not None:
            node = op.convolution(sources[0], op.constant(layer.kernel.astype(np.float32)), [1, 1], [1, 1], [1, 1], [1, 1])
            node = op.add(node, op.constant(layer.bias.reshape(1, -1, 1, 1)))
            if layer.slope is not None:
                node = op.prelu(node, op.constant(np.array([layer.slope], np.float32)))
        elif layer.kind == "Split":
            node = sources[0]
        elif layer.kind == "Concat":
            node = op.concat(sources, 1)
        elif layer.kind == "Interp":
            node = op.interpolate(
                sources[0], two, "nearest", "scales", coordinate_transformation_mode="asymmetric", nearest_mode="floor", axes=axes
            )
        else:
            factors = layer.factors or (1.0, 1.0)
            scaled = [s if f == 1 else op.multiply(s, op.constant(np.float32(f))) for s, f in zip(sources, factors, strict=True)]
            node = op.add(scaled[0], scaled[1])
        blobs.update(dict.fromkeys(layer.outputs, node))
    # In bfloat16 whatever follows the last convolution stays float32; with nothing there the picture itself would be rounded to 8 bits.
    return ov.Model([op.clamp(blobs[layers[-1].outputs[0]], 0.0, 1.0)], [parameter], "rrdbnet")


def _ncnn(param: Path, weights: Path, layers: list[Layer], threads: int) -> Network:
    try:
        import ncnn
    except ImportError as error:
        raise BackendError(f"the ncnn runtime is not installed ({error}): pip install ncnn") from None
    first, last = layers[0].outputs[0], layers[-1].outputs[0]
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = threads
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise BackendError(f"ncnn cannot load {weights.name}; force another runtime ({', '.join(RUNTIMES[:2])})")

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        plane = np.ascontiguousarray(batch[0])
        extractor = net.create_extractor()
        # A Mat made from an array only borrows its memory.
        extractor.input(first, ncnn.Mat(plane).clone())
        status, made = extractor.extract(last)
        if status:
            raise BackendError(f"ncnn failed with status {status} on a tile of {plane.shape[2]}x{plane.shape[1]} pixels")
        return np.array(made, dtype=np.float32)[None]

    return run
