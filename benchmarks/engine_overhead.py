"""What the engine costs beside the backbone: a chain of four steps against the same four backbone calls, interleaved in one run.

python benchmarks/engine_overhead.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from time import perf_counter

from common import header, save

from chainzoom import Chain, Photo, Step
from chainzoom.registry import build_backbone, build_prompter

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    backbone, tags = build_backbone("realesrgan", {}), build_prompter("tags", {})
    photo = Photo.open(PHOTO)
    rows = {
        "engine alone (no words, no correction)": Chain(backbone, None, consistency=0.0),
        "with consistency": Chain(backbone, None),
        "with consistency and tags (preset realesrgan)": Chain(backbone, tags),
    }
    inputs = [step.input for step in zoom(rows["engine alone (no words, no correction)"], photo) if step.input is not None]
    zoom(rows["with consistency and tags (preset realesrgan)"], photo)
    bare: list[float] = []
    whole: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        start = perf_counter()
        for crop in inputs:
            backbone.upscale(crop)
        bare.append(perf_counter() - start)
        for name, chain in rows.items():
            start = perf_counter()
            zoom(chain, photo)
            whole[name].append(perf_counter() - start)
    base = statistics.median(bare)
    lines = ["| | seconds for 4 steps | above the bare calls |", "|---|---|---|", f"| bare backbone calls | {base:.2f} | |"]
    for name, seconds in whole.items():
        ratios = [mine / theirs - 1 for mine, theirs in zip(seconds, bare, strict=True)]
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {100 * statistics.median(ratios):+.1f} % |")
    save("engine_overhead", header("python benchmarks/engine_overhead.py", f"{rounds} rounds, medians") + "\n".join(lines))


def zoom(chain: Chain, photo: Photo) -> list[Step]:
    return list(chain.run(photo, at=(0.55, 0.2), to=256))


if __name__ == "__main__":
    main()
