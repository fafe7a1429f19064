"""How far a chain drifts from its photo over 4 and 8 steps, with and without the consistency correction.

    python benchmarks/drift.py [PHOTO ...] [--to 65536]

Evidence survives when a deep state, averaged, still has the colour that the photo has at that place (interpolated), and when each state,
shrunk back to the first synthesised one's grid, still matches it. Figures are means over points and photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import header, save

from chainzoom import Chain, Photo, Step
from chainzoom.correctors.consistency import consistency_db
from chainzoom.images import Image
from chainzoom.registry import build_backbone

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"
POINTS = [(0.36, 0.38), (0.55, 0.2), (0.5, 0.72), (0.2, 0.6), (0.85, 0.45)]

_NOTE = """

Colour drift compares a state's mean colour with the photo interpolated at that place. Step consistency is the figure of the record. End to
end, the state is shrunk to the photo's own pixels in its region (one at least). From 1024x on a state shows less than one source pixel: the
photo no longer says what is there, and the last two columns compare with an interpolation, not with evidence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, default=[PHOTO])
    parser.add_argument("--to", type=float, default=65536.0)
    options = parser.parse_args()
    rows: dict[float, dict[str, list[tuple[float, float, float]]]] = {}
    backbone = build_backbone("realesrgan", {})
    for path in options.photos:
        photo = Photo.open(path)
        for at in POINTS:
            for name, strength in (("without", 0.0), ("with", 1.0)):
                chain = Chain(backbone, None, consistency=strength)
                for step, figures in measure(list(chain.run(photo, at=at, to=options.to)), photo):
                    rows.setdefault(step.scale, {}).setdefault(name, []).append(figures)
    lines = [
        "| scale | colour drift, delta E: without / with | step consistency, dB: without / with | end to end, dB: without / with |",
        "|---|---|---|---|",
    ]
    for scale, by in rows.items():
        without, with_ = (np.mean(by[name], axis=0) for name in ("without", "with"))
        lines.append(f"| {scale:g}x | " + " | ".join(f"{a:.2f} / {b:.2f}" for a, b in zip(without, with_, strict=True)) + " |")
    note = f"{len(options.photos)} photo(s), {len(POINTS)} points each, Real-ESRGAN without words"
    save("drift", header("python benchmarks/drift.py", note) + "\n".join(lines) + _NOTE)


def measure(steps: Sequence[Step], photo: Photo) -> list[tuple[Step, tuple[float, float, float]]]:
    """(delta E of the mean colour against the photo there, step consistency, end-to-end consistency) of every synthesised step."""
    made = []
    first = next(step for step in steps if step.kind == "synthesised")
    for step in steps:
        if step.kind != "synthesised" or step.consistency is None or first.input is None:
            continue
        truth = photo.read(step.region.as_tuple(), (16, 16), "bicubic")
        drift = float(np.linalg.norm(lab(step.image).mean((0, 1)) - lab(truth).mean((0, 1))))
        made.append((step, (drift, step.consistency.corrected, end_to_end(step, photo))))
    return made


def end_to_end(step: Step, photo: Photo) -> float:
    """The state shrunk to as many pixels as its region has in the photo (at least one), against the photo there."""
    side = max(1, round(step.region.width)), max(1, round(step.region.height))
    return consistency_db(step.image, photo.read(step.region.as_tuple(), side, "bicubic"))


def lab(image: Image) -> Image:
    """sRGB in [0, 1] to CIE L*a*b* (D65)."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1).astype(np.float32)


if __name__ == "__main__":
    main()
