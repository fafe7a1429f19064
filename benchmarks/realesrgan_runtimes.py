"""Real-ESRGAN x4plus on the CPU: our backbone against the ncnn wheel, same weights, one run. Prints a Markdown table.

    python benchmarks/realesrgan_runtimes.py [--size 128] [--rounds 5] [--photo FILE]

Each candidate lives in its own process (so that peak memory is its own); their calls are interleaved, one at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path

CANDIDATES = ("ncnn default", "ncnn bf16 storage", "openvino-f32", "openvino-bf16")


def picture(size: int, photo: str | None):
    """A square of ``size``: the middle of a photo, shrunk, or smooth noise with edges."""
    import numpy as np
    from PIL import Image

    from chainzoom.images import from_uint, resize

    if photo:
        with Image.open(photo) as opened:
            rgb = from_uint(np.asarray(opened.convert("RGB")))
        side = min(rgb.shape[:2])
        top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        return np.clip(resize(rgb[top : top + side, left : left + side], (size, size), "box"), 0, 1)
    made = resize(np.random.default_rng(0).random((7, 7, 3), dtype=np.float32), (size, size), "bicubic")
    made[size // 3 :, size // 2 :] *= 0.5
    return np.clip(made, 0, 1)


def peak_gflops(runtime: str, threads: int) -> float:
    """Best of several 3x3 convolutions, 64 to 64 channels on 256 x 256, in OpenVINO at this precision."""
    import numpy as np
    import openvino as ov
    from openvino import opset11 as op

    node = parameter = op.parameter([1, 64, 256, 256], np.float32)
    kernel = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32) / 24
    for _ in range(8):
        node = op.convolution(node, op.constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1])
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": runtime}
    request = ov.Core().compile_model(ov.Model([op.reduce_max(node, np.array([2, 3]))], [parameter]), "CPU", config).create_infer_request()
    batch, best = np.ones((1, 64, 256, 256), np.float32), float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        request.infer({0: batch})
        best = min(best, time.perf_counter() - begun)
    return 8 * 2 * kernel.size * 256 * 256 / best / 1e9


def worker(name: str, size: int, photo: str | None, threads: int, folder: str) -> None:
    """Answer every line on stdin with one timed call."""
    import numpy as np

    image = picture(size, photo)
    begun = time.perf_counter()
    if name.startswith("ncnn"):
        call = _wheel(name, threads)
    else:
        from chainzoom.backbones.realesrgan import RealESRGAN

        call = RealESRGAN(runtime=name, threads=threads).upscale
    made = call(image)
    print(json.dumps({"first": time.perf_counter() - begun}), flush=True)
    np.save(Path(folder) / f"{name}.npy", made)
    for _ in sys.stdin:
        begun = time.perf_counter()
        call(image)
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


def _wheel(name: str, threads: int):
    """The wheel as its documentation uses it, without our code around it."""
    import ncnn
    import numpy as np

    from chainzoom.backbones.realesrgan import MODULE, PACKAGE, STEM
    from chainzoom.weights import package_file

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_bf16_storage = name.endswith("bf16 storage")
    if "fp32" in name:
        net.opt.use_winograd_convolution = False
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(package_file(PACKAGE, MODULE, f"{STEM}.param")[0]))
    net.load_model(str(package_file(PACKAGE, MODULE, f"{STEM}.bin")[0]))

    def call(image):
        plane = np.ascontiguousarray(image.transpose(2, 0, 1))  # a Mat only borrows it: the name keeps it alive
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(plane))
        return np.clip(np.array(extractor.extract("output")[1]).transpose(1, 2, 0), 0, 1)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photo")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()

    from chainzoom.backbones.runtimes import best_runtime, usable_cores

    threads = usable_cores()
    if options.worker:
        worker(options.worker, options.size, options.photo, threads, options.folder)
    elif options.peak:
        print(peak_gflops(options.peak, threads))
    else:
        compare(options, threads, best_runtime())


def compare(options: argparse.Namespace, threads: int, ours: str) -> None:
    import tempfile

    import numpy as np

    from chainzoom.backbones.ncnn_files import flops, read
    from chainzoom.backbones.realesrgan import MODULE, PACKAGE, STEM
    from chainzoom.images import psnr
    from chainzoom.weights import package_file

    work = flops(read(*(package_file(PACKAGE, MODULE, f"{STEM}.{end}")[0] for end in ("param", "bin"))), options.size, options.size) / 1e9
    names = [name for name in CANDIDATES if util.find_spec(name.split()[0].split("-")[0])]
    script = [sys.executable, __file__, "--size", str(options.size), *(["--photo", options.photo] if options.photo else [])]
    peaks = {kind: float(subprocess.check_output([*script, "--peak", kind], text=True)) for kind in ("f32", "bf16")}
    with tempfile.TemporaryDirectory() as folder:

        def start(name: str) -> tuple[subprocess.Popen[str], float]:
            process = subprocess.Popen(
                [*script, "--worker", name, "--folder", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            return process, json.loads(process.stdout.readline())["first"]

        reference, _ = start("ncnn fp32")
        reference.communicate()
        running = {name: start(name) for name in names}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name, (process, _) in running.items():
                process.stdin.write("\n")
                process.stdin.flush()
                seconds[name].append(json.loads(process.stdout.readline())["seconds"])
        memory = {name: json.loads(process.communicate()[0])["peak"] for name, (process, _) in running.items()}
        truth = np.load(Path(folder) / "ncnn fp32.npy")
        accuracy = {name: psnr(np.load(Path(folder) / f"{name}.npy"), truth) for name in names}

    print(
        f"{options.size}x{options.size} to {4 * options.size}x{4 * options.size}, {work / 1e3:.3f} TFLOP; {cpu()}, {threads} threads, load"
    )
    print(f"average {os.getloadavg()[0]:.1f}; " + ", ".join(f"{p} {metadata.version(p)}" for p in ("openvino", "ncnn", "numpy")))
    print(f"Convolution peak in OpenVINO: {peaks['f32']:.0f} GFLOP/s f32, {peaks['bf16']:.0f} GFLOP/s bf16. Chosen here: {ours}.\n")
    print("| runtime | median s | min s | ncnn default / this | peak MB | first output s | PSNR to ncnn fp32, dB | GFLOP/s | of peak |")
    print("|---|---|---|---|---|---|---|---|---|")
    base = float(np.median(seconds[names[0]]))
    for name in names:
        middle, peak = float(np.median(seconds[name])), peaks["bf16" if name == "openvino-bf16" else "f32"]
        label = f"{name} (ours)" if name == ours else name
        print(
            f"| {label} | {middle:.2f} | {min(seconds[name]):.2f} | {base / middle:.2f} | {memory[name]:.0f} "
            f"| {running[name][1]:.1f} | {accuracy[name]:.1f} | {work / middle:.0f} | {work / middle / peak:.0%} |"
        )


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return (
        f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"
        if "cpu family" in fields
        else platform.processor()
    )


if __name__ == "__main__":
    main()
