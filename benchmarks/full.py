"""Seams, cost and consistency of planes of windows, on photos, for every preset that runs without a hub.

    python benchmarks/full.py PHOTO [PHOTO ...] [--side 448] [--levels 2] [--presets default bicubic]

A seam is a band in which two windows are cross-faded. Its gradient (mean absolute difference of neighbouring pixels, across the band) is
compared with the gradient in bands of the same width on both sides of it, and, since what a photo shows at a few bands is chance, with the
gradient at the same places of the same photo when the windows are laid out so that no band is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
from common import header, save
from numpy.typing import NDArray

from chainzoom import Chain, Photo, load_preset
from chainzoom.correctors.consistency import consistency_db
from chainzoom.images import Image
from chainzoom.sources import ArraySource
from chainzoom.windows import Planes, Tiling
from chainzoom.windows.grid import Axis, Box, Level

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[PHOTO])
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--presets", nargs="*", default=["default", "bicubic"])
    options = parser.parse_args()
    lines = [
        "| preset | level | seams against both sides | against the same places without a seam | consistency, dB | s a window |",
        "|---|---|---|---|---|---|",
    ]
    for preset in options.presets:
        chain = load_preset(preset).build()
        rows: dict[int, list[tuple[float, ...]]] = {}
        for path in options.photos:
            for level, figures in measure(chain, crop(path, options.side), options.levels).items():
                rows.setdefault(level, []).append(figures)
        for level, values in rows.items():
            # Bands are few and photos differ, so gradients are pooled before they are divided.
            seam, other, here, there, error, windows, seconds = np.sum(values, axis=0)
            first, second = seam / other, here / there
            decibels = -10 * np.log10(max(error / len(values), 1e-12))
            lines.append(f"| {preset} | {4**level}x | {first:.3f} | {second:.3f} | {decibels:.1f} | {seconds / windows:.2f} |")
            print(lines[-1], [f"{v[2] / v[3]:.3f}" for v in values], flush=True)
    note = f"{len(options.photos)} photo(s), {options.side} px square from the middle of each"
    save("full", header("python benchmarks/full.py", note) + "\n".join(lines))


def crop(path: Path, side: int) -> ArraySource:
    """The middle of a photo."""
    photo = Photo.open(path)
    wide, high = min(side, photo.width), min(side, photo.height)
    x, y = (photo.width - wide) // 2, (photo.height - high) // 2
    return ArraySource.of(photo.read((x, y, x + wide, y + high), (wide, high)))


def measure(chain: Chain, source: ArraySource, levels: int) -> dict[int, tuple[float, ...]]:
    """By level: gradient sums at seams and elsewhere, at seams with and without them, squared error, windows, seconds."""
    found = {}
    for number in range(1, levels + 1):
        planes = [Planes(source, chain, tiling=tiling) for tiling in (Tiling(), Tiling(core=96))]
        box = middle(planes[0].size(number), 1792 if number == 1 else 1280)
        start = perf_counter()
        image = planes[0].read(number, box)
        seconds = perf_counter() - start
        other = planes[1].read(number, box)
        low = planes[0].read(number - 1, tuple(side // 4 for side in box))  # type: ignore[arg-type]
        error = 10 ** (-consistency_db(image, low) / 10)
        figures = seams(image, other, planes[0].level(number), planes[1].level(number), box)
        found[number] = (*figures, error, float(sum(planes[0].made.values())), seconds)
    return found


def middle(size: tuple[int, int], side: int) -> Box:
    """A square of at most ``side`` in the middle, on multiples of 64."""
    wide, high = min(side, size[0]) // 64 * 64, min(side, size[1]) // 64 * 64
    x, y = (size[0] - wide) // 2 // 64 * 64, (size[1] - high) // 2 // 64 * 64
    return x, y, x + wide, y + high


def seams(image: Image, other: Image, level: Level, without: Level, box: Box) -> tuple[float, float, float, float]:
    """Mean gradients: in bands, beside them; in bands that ``other`` does not have, in ``other`` at the same places."""
    inside, outside, here, there = [], [], [], []
    for axis, line, plain, start in ((1, level.columns, without.columns, box[0]), (0, level.rows, without.rows, box[1])):
        profiles = [np.abs(np.diff(picture, axis=axis)).mean(axis=(1 - axis, 2)) for picture in (image, other)]
        band, elsewhere = (bands(each, start, len(profiles[0])) for each in (line, plain))
        inside.append(profiles[0][band])
        outside.append(profiles[0][beside(band)])
        here.append(profiles[0][band & ~elsewhere])
        there.append(profiles[1][band & ~elsewhere])
    return tuple(float(np.concatenate(part).mean()) for part in (inside, outside, here, there))  # type: ignore[return-value]


def bands(axis: Axis, start: int, length: int) -> NDArray[np.bool_]:
    """Which differences of neighbouring pixels lie in a cross-fade."""
    found = np.zeros(length, bool)
    for number in range(1, axis.count):
        first, stop = axis.kept(number)[0] - start, axis.kept(number - 1)[1] - start
        found[max(0, first) : max(0, stop - 1)] = True
    return found


def beside(band: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The places up to a band's width to the left and right of it."""
    width = 4 * Tiling().ramp
    near = np.convolve(band, np.ones(2 * width + 1), mode="same") > 0
    return near & ~band


if __name__ == "__main__":
    main()
