"""Seams where surfaces are invented: windows of the second and third level of photos, as a picture or the viewer would make them.

    python benchmarks/deep_seams.py PHOTO [PHOTO ...] [--preset default] [--levels 2 3]

In the middle of each photo a strip is read that runs across the place where two windows meet. The mean gradient in the band in which they
are cross-faded is compared with the bands beside it and with everything else in the strip, and the three columns at which the finest detail
changes over with 8 columns on both sides. Nothing is made without a seam for comparison: what differs by chance is in the figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import header, save

from chainzoom import Photo, load_preset
from chainzoom.windows import Planes

ROWS = 320
"""Most pixels of a strip across the direction that is measured."""
COLUMNS = ("band / beside", "band / elsewhere", "line")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--levels", nargs="*", type=int, default=[2, 3])
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    chain = load_preset(options.preset).build()
    found: dict[int, list[tuple[float, ...]]] = {}
    table = [f"| scale | photo | {' | '.join(COLUMNS)} |", "|---" * 5 + "|"]
    for path in options.photos:
        planes = Planes(Photo.open(path), chain)
        for level in options.levels:
            found.setdefault(level, []).append(seam(planes, level))
            table.append(f"| {4**level}x | {path.stem} | {' | '.join(f'{value:.3f}' for value in found[level][-1])} |")
            print(table[-1], flush=True)
    for level, rows in found.items():
        values = np.array(rows)
        for name, line in (("mean", values.mean(0)), ("lowest", values.min(0)), ("highest", values.max(0))):
            table.append(f"| {4**level}x | {name} | {' | '.join(f'{value:.3f}' for value in line)} |")
            print(table[-1])
    if not options.no_save:
        command = f"python benchmarks/deep_seams.py PHOTO ... --preset {options.preset}"
        save(f"deep_seams_{options.preset}", header(command, f"{len(options.photos)} photo(s)") + "\n".join(table))


def seam(planes: Planes, level: int) -> tuple[float, ...]:
    """The three figures where the two columns of windows in the middle of a level meet."""
    columns, rows = planes.level(level).columns, planes.level(level).rows
    column, row = columns.count // 2, rows.count // 2
    first, stop = columns.kept(column + 1)[0], columns.kept(column)[1]
    wide = stop - first
    top, bottom = rows.kept(row - 1)[1], rows.kept(row + 1)[0]
    strip = planes.read(level, (first - 2 * wide - 8, top, stop + 2 * wide + 8, min(bottom, top + ROWS)))
    profile = np.abs(np.diff(strip, axis=1)).mean((0, 2))
    start, end = 2 * wide + 8, 3 * wide + 8
    band = profile[start : end - 1].mean()
    beside = np.concatenate((profile[start - wide : start], profile[end : end + wide])).mean()
    elsewhere = np.concatenate((profile[:start], profile[end:])).mean()
    middle = (start + end) // 2
    near = np.concatenate((profile[middle - 10 : middle - 2], profile[middle + 1 : middle + 9])).mean()
    return float(band / beside), float(band / elsewhere), float(profile[middle - 2 : middle + 1].mean() / near)


if __name__ == "__main__":
    main()
