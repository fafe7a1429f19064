"""Seams of planes of windows, on photos, for every preset that runs without a hub.

    python benchmarks/full.py PHOTO [PHOTO ...] [--levels 2] [--presets default bicubic]

From the middle of each photo a strip of two windows is made, and a single window over the place where the two meet. The seam is the band in
which the two are cross-faded. Its gradient (mean absolute difference of neighbouring pixels across the band) is compared with the gradient
of the single window at the very same pixels, where there is no seam, and with the bands of the same width on both sides. Every other photo
is turned, so that both directions count. Level 2 takes the middle of level 1 as its photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
from common import header, save

from chainzoom import Chain, Photo, load_preset
from chainzoom.correctors.consistency import consistency_db
from chainzoom.images import Image
from chainzoom.sources import ArraySource
from chainzoom.windows import Planes, Tiling

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"
TILING = Tiling()
LENGTH, SIDE = TILING.window + TILING.core, TILING.window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[PHOTO])
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--presets", nargs="*", default=["default", "bicubic"])
    options = parser.parse_args()
    lines = [
        "| preset | level | seam against the same pixels without | worst photo | seam against both sides | consistency, dB | s a window |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in options.presets:
        chain = load_preset(preset).build()
        rows: dict[int, list[tuple[float, ...]]] = {}
        for turn, path in enumerate(options.photos):
            strip = middle(path, turn % 2 == 1)
            for level in range(1, options.levels + 1):
                figures, strip = measure(chain, strip)
                rows.setdefault(level, []).append(figures)
                print(path.name, level, [f"{value:.4f}" for value in figures], flush=True)
        for level, values in rows.items():
            # Photos differ in contrast, so gradients are pooled before they are divided.
            seam, plain, around, error, seconds = np.mean(values, axis=0)
            worst = max((value[0] / value[1] for value in values), key=lambda ratio: abs(ratio - 1))
            decibels = -10 * np.log10(max(error, 1e-12))
            lines.append(
                f"| {preset} | {4**level}x | {seam / plain:.3f} | {worst:.3f} | {seam / around:.3f} | {decibels:.1f} | {seconds:.2f} |"
            )
    save("full", header("python benchmarks/full.py PHOTO ...", f"{len(options.photos)} photo(s)") + "\n".join(lines))


def middle(path: Path, turned: bool) -> Image:
    """A strip of two windows from the middle of a photo."""
    photo = Photo.open(path)
    wide, high = (SIDE, LENGTH) if turned else (LENGTH, SIDE)
    x, y = (photo.width - wide) // 2, (photo.height - high) // 2
    strip = photo.read((x, y, x + wide, y + high), (wide, high))
    return np.ascontiguousarray(np.rot90(strip)) if turned else strip


def measure(chain: Chain, strip: Image) -> tuple[tuple[float, ...], Image]:
    """Gradients in the seam, at the same pixels without it, beside it; squared error of shrinking back; seconds; the next level's strip."""
    two = Planes(ArraySource.of(strip), chain, tiling=TILING)
    offset = TILING.core // 2
    one = Planes(ArraySource.of(np.ascontiguousarray(strip[:, offset : offset + SIDE])), chain, tiling=TILING)
    start = perf_counter()
    image, plain = (plane.read(1, (0, 0, *plane.size(1))) for plane in (two, one))
    seconds = (perf_counter() - start) / 3
    assert (two.made, one.made) == ({1: 2}, {1: 1})
    axis = two.level(1).columns
    first, stop = axis.kept(1)[0], axis.kept(0)[1]
    profiles = [np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2)) for picture in (image, plain)]
    width = stop - first
    around = np.concatenate((profiles[0][first - width : first], profiles[0][stop - 1 : stop + width]))
    error = 10 ** (-consistency_db(image, strip) / 10)
    figures = (profiles[0][first : stop - 1].mean(), profiles[1][first - 4 * offset : stop - 1 - 4 * offset].mean(), around.mean())
    x, y = (image.shape[1] - LENGTH) // 2, (image.shape[0] - SIDE) // 2
    return (*map(float, figures), error, seconds), np.ascontiguousarray(image[y : y + SIDE, x : x + LENGTH])


if __name__ == "__main__":
    main()
