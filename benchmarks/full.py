"""Seams of planes of windows, on photos, for every preset that runs without a hub.

    python benchmarks/full.py PHOTO [PHOTO ...] [--levels 2] [--presets realesrgan bicubic]

From the middle of each photo a strip of two windows is made, and a single window over the place where the two meet. The seam is the band in
which the two are cross-faded, the line the three columns at which what is finest changes over. Their gradients (mean absolute difference of
neighbouring pixels across them) are compared with the gradients of the single window at the very same pixels, where there is no seam. What
a person could see is how they stand out from the band beside (the line: from the 8 columns on both sides); that figure, too, is divided by
what it is without a seam, because photos have edges of their own. Every other photo is turned, so that both directions count. Level 2 takes
the middle of level 1 as its photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

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
COLUMNS = ("band", "band stands out", "line", "line stands out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[PHOTO])
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--presets", nargs="*", default=["realesrgan", "bicubic"])
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    table, single = [f"| preset | level | {' | '.join(COLUMNS)} | consistency, dB | s a window |", "|---" * 8 + "|"], []
    for preset in options.presets:
        chain = load_preset(preset).build()
        rows: dict[int, list[Found]] = {}
        for turn, path in enumerate(options.photos):
            strip = middle(path, turn % 2 == 1)
            for level in range(1, options.levels + 1):
                found, strip = measure(chain, strip)
                rows.setdefault(level, []).append(found)
                single.append(
                    f"| {preset} | {4**level}x | {path.stem} | {255 * found.plain[0]:.2f} | {' | '.join(map(figure, ratios([found])))} |"
                )
                print(single[-1], flush=True)
        for level, values in rows.items():
            decibels = -10 * np.log10(max(float(np.mean([value.error for value in values])), 1e-12))
            seconds = np.mean([value.seconds for value in values])
            pooled = " | ".join(map(figure, ratios(values)))
            table.append(f"| {preset} | {4**level}x | {pooled} | {decibels:.1f} | {seconds:.2f} |")
    print("\n".join(table))
    if not options.no_save:
        note = f"{len(options.photos)} photo(s); all photos' gradients are added up before they are divided"
        head = f"| preset | level | photo | gradient, levels of 255 | {' | '.join(COLUMNS)} |"
        text = "\n".join([*table, "", "Each photo:", "", head, "|---" * 8 + "|", *single])
        save("full", header("python benchmarks/full.py PHOTO ...", note) + text)


class Found(NamedTuple):
    """Of a strip with a seam and of the same pixels without: gradients in the band, beside it, on the line, beside that."""

    seam: tuple[float, ...]
    plain: tuple[float, ...]
    error: float
    seconds: float


def ratios(values: list[Found]) -> tuple[float, ...]:
    """Band and line against the same pixels without a seam, then how each stands out, against the same without a seam."""
    seam, plain = (np.sum([getattr(value, name) for value in values], axis=0) for name in ("seam", "plain"))
    share = seam / plain
    return float(share[0]), float(share[0] / share[1]), float(share[2]), float(share[2] / share[3])


def figure(value: float) -> str:
    return f"{value:.3f}"


def middle(path: Path, turned: bool) -> Image:
    """A strip of two windows from the middle of a photo."""
    photo = Photo.open(path)
    wide, high = (SIDE, LENGTH) if turned else (LENGTH, SIDE)
    x, y = (photo.width - wide) // 2, (photo.height - high) // 2
    strip = photo.read((x, y, x + wide, y + high), (wide, high))
    return np.ascontiguousarray(np.rot90(strip)) if turned else strip


def measure(chain: Chain, strip: Image) -> tuple[Found, Image]:
    """The gradients with and without a seam; squared error of shrinking back; seconds; the next level's strip."""
    two = Planes(ArraySource.of(strip), chain, tiling=TILING)
    offset = TILING.core // 2
    one = Planes(ArraySource.of(np.ascontiguousarray(strip[:, offset : offset + SIDE])), chain, tiling=TILING)
    start = perf_counter()
    image, plain = (plane.read(1, (0, 0, *plane.size(1))) for plane in (two, one))
    seconds = (perf_counter() - start) / 3
    assert (two.made, one.made) in (({1: 2}, {1: 1}), ({}, {}))
    axis = two.level(1).columns
    first, stop = axis.kept(1)[0], axis.kept(0)[1]
    error = 10 ** (-consistency_db(image, strip) / 10)
    found = Found(gradients(image, first, stop), gradients(plain, first - 4 * offset, stop - 4 * offset), error, seconds)
    x, y = (image.shape[1] - LENGTH) // 2, (image.shape[0] - SIDE) // 2
    return found, np.ascontiguousarray(image[y : y + SIDE, x : x + LENGTH])


def gradients(image: Image, first: int, stop: int) -> tuple[float, ...]:
    """In the band, beside it, on the line in its middle, beside that."""
    profile = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
    width, middle = stop - first, (first + stop) // 2
    beside = np.concatenate((profile[first - width : first], profile[stop - 1 : stop + width]))
    near = np.concatenate((profile[middle - 10 : middle - 2], profile[middle + 1 : middle + 9]))
    return tuple(map(float, (profile[first : stop - 1].mean(), beside.mean(), profile[middle - 2 : middle + 1].mean(), near.mean())))


if __name__ == "__main__":
    main()
