"""A photo to 256x, four steps on 512 px states: ours against a plain loop over the ncnn wheel on the same weights, in one run.

    python benchmarks/four_steps.py [--rounds 3]

Each side runs in its own process, in turn; ``first`` includes loading and the first four steps, ``again`` is the best of the later ones.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from common import cores, header, save

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"
AT = (0.55, 0.2)
SIDES = {
    "ncnn": "ncnn wheel, default options, crop and call in a loop",
    "chain": "chainzoom, no words, consistency on",
    "default": "chainzoom, preset realesrgan (tags, consistency)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side)))
        return
    figures: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            out = subprocess.run([sys.executable, __file__, "--side", side], capture_output=True, text=True, check=True).stdout
            figures[side].append(json.loads(out.splitlines()[-1]))
    lines = ["| | first, s | again, s | ncnn / this | peak MB |", "|---|---|---|---|---|"]
    middle = {side: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for side, rows in figures.items()}
    for side, row in middle.items():
        ratio = middle["ncnn"]["again"] / row["again"]
        lines.append(f"| {SIDES[side]} | {row['first']:.1f} | {row['again']:.2f} | {ratio:.2f} | {row['peak']:.0f} |")
    save("four_steps", header("python benchmarks/four_steps.py", f"{options.rounds} rounds, medians") + "\n".join(lines))


def measure(side: str) -> dict[str, float]:
    start = perf_counter()
    zoom = plain_loop() if side == "ncnn" else engine(side)
    zoom()
    first = perf_counter() - start
    again = []
    for _ in range(2):
        start = perf_counter()
        zoom()
        again.append(perf_counter() - start)
    return {"first": first, "again": min(again), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def engine(side: str) -> Callable[[], None]:
    from chainzoom import Chain, Photo, load_preset
    from chainzoom.registry import build_backbone

    chain = load_preset("realesrgan").build() if side == "default" else Chain(build_backbone("realesrgan", {}))
    photo = Photo.open(PHOTO)
    return lambda: [None for _ in chain.run(photo, at=AT, to=256)][-1]


def plain_loop() -> Callable[[], None]:
    import ncnn
    from PIL import Image

    from chainzoom.backbones.ncnn_files import read
    from chainzoom.backbones.realesrgan import MODULE, PACKAGE, STEM
    from chainzoom.weights import package_file

    param, weights = (package_file(PACKAGE, MODULE, f"{STEM}.{ending}")[0] for ending in ("param", "bin"))
    layers = read(param, weights)
    first, last = layers[0].outputs[0], layers[-1].outputs[0]
    del layers
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = cores()
    net.load_param(str(param))
    net.load_model(str(weights))

    def zoom() -> None:
        with Image.open(PHOTO) as photo:
            state = np.asarray(photo.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
        x, y = int(AT[0] * state.shape[2]) - 64, max(0, int(AT[1] * state.shape[1]) - 64)
        crop = state[:, y : y + 128, x : x + 128]
        for _ in range(4):
            extractor = net.create_extractor()
            extractor.input(first, ncnn.Mat(np.ascontiguousarray(crop)).clone())
            state = np.clip(np.array(extractor.extract(last)[1]), 0, 1)
            crop = state[:, 192:320, 192:320]

    return zoom


if __name__ == "__main__":
    main()
