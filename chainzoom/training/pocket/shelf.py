"""Choosing the shelf of exemplars (``backbones.exemplars``) from the training pictures: sharp, even, and some of every material."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.atomic import write_bytes
from chainzoom.backbones.exemplars import INDEX, SIDE
from chainzoom.errors import OptionError
from chainzoom.training.pocket import fur
from chainzoom.training.pocket.pictures import MANIFEST, Embed, sentences

_SLOW = 24
"""Standard deviation in pixels of the blur that is taken off: light and large patches belong to the picture, not to the surface."""
_CONTRAST = (0.012, 0.2)
_EVEN = 0.75
"""Largest spread of contrast over a 4 x 4 grid, relative to its mean."""
_NATURAL = (0.5, 3.5)
_QUALITY = 88
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A cut of a picture with its merit; lower is better."""

    row: dict[str, Any]
    texture: NDArray[np.float32]
    merit: float


def candidates(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Candidate]:
    """The best cut of every picture that has a usable one."""
    found = []
    for row in rows:
        with PILImage.open(folder / row["file"]) as picture:
            best = _best_cut(picture.convert("L"))
        if best is not None:
            found.append(Candidate(row, *best))
    return found


def _best_cut(picture: PILImage.Image) -> tuple[NDArray[np.float32], float] | None:
    from chainzoom.evaluation.metrics.texture import NATURAL_RATIO, spectral_ratio

    best: tuple[NDArray[np.float32], float] | None = None
    for scale in (1.0, 0.707, 0.5, 0.354, 0.25):
        size = (round(picture.width * scale), round(picture.height * scale))
        if min(size) < SIDE:
            break
        level = picture if scale == 1 else picture.resize(size, PILImage.Resampling.LANCZOS)
        for x, y in {(0, 0), (size[0] - SIDE, size[1] - SIDE), ((size[0] - SIDE) // 2, (size[1] - SIDE) // 2)}:
            cut = level.crop((x, y, x + SIDE, y + SIDE))
            plane: NDArray[np.float32] = np.asarray(cut, np.float32) / np.float32(255)
            fineness = spectral_ratio(plane.astype(np.float64)) / NATURAL_RATIO
            texture = plane - _blurred(plane)
            blocks = texture.reshape(4, SIDE // 4, 4, SIDE // 4).std(axis=(1, 3))
            contrast, uneven = float(blocks.mean()), float(blocks.std() / max(blocks.mean(), 1e-6))
            if not (_NATURAL[0] <= fineness <= _NATURAL[1] and _CONTRAST[0] <= contrast <= _CONTRAST[1] and uneven <= _EVEN):
                continue
            merit = uneven + 0.3 * abs(float(np.log2(fineness)))
            if best is None or merit < best[1]:
                best = (texture - texture.mean(), merit)
    return best


def _blurred(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A Gaussian blur in float, by three box blurs along each axis, with the edge mirrored."""
    side = int(_SLOW * 2) | 1
    out = plane.astype(np.float64)
    for axis in (0, 1):
        for _ in range(3):
            padded = np.pad(out, [(side // 2 + 1, side // 2) if k == axis else (0, 0) for k in (0, 1)], mode="reflect")
            sums = np.cumsum(padded, axis=axis)
            out = (np.take(sums, range(side, sums.shape[axis]), axis) - np.take(sums, range(sums.shape[axis] - side), axis)) / side
    return out.astype(np.float32)


def choose(found: Sequence[Candidate], each: int) -> list[Candidate]:
    """Up to ``each`` for every material, of different groups as long as there are any."""
    chosen: dict[str, Candidate] = {}
    materials = sorted({material for one in found for material in one.row["materials"]})
    for material in materials:
        groups: set[str] = set()
        own = sorted((one for one in found if material in one.row["materials"]), key=lambda one: (one.merit, one.row["file"]))
        count = sum(material in one.row["materials"] for one in chosen.values())
        for fresh in (True, False):
            for one in own:
                if count >= each:
                    break
                if one.row["file"] in chosen or (fresh and one.row["group"] in groups):
                    continue
                groups.add(one.row["group"])
                chosen[one.row["file"]] = one
                count += 1
    return list(chosen.values())


def _may_be_shown(row: dict[str, Any]) -> bool:
    """A training surface whose licence lets a cut of it be handed on beside code under other terms."""
    return row["split"] == "train" and row["kind"] != "photo" and bool(row["materials"]) and not row["licence"].startswith("GPL")


def _drawn(coat: fur.Coat) -> Candidate:
    """The middle of a drawn coat, preferred to everything else that is called fur."""
    row = {"file": f"drawn-{coat.name}-fur", "caption": coat.caption, "materials": ["fur"], "group": coat.name, "origin": coat.name}
    plane = np.asarray(PILImage.fromarray(fur.draw(coat)).convert("L"), np.float32)[SIDE // 2 :][:SIDE, SIDE // 2 :][:, :SIDE]
    texture = plane / np.float32(255) - _blurred(plane / np.float32(255))
    return Candidate({**row, "source": fur.SOURCE, "licence": fur.LICENCE}, texture - texture.mean(), 0.0)


def build(folder: Path, out: Path, embed: Embed, each: int = 8, coats: bool = True) -> int:
    """Write the shelf from the split ``train`` of a prepared folder; returns how many exemplars it holds.

    ``coats``: drawn furs too. Raises OptionError when the folder is not prepared.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise OptionError(f"{folder} holds no {MANIFEST}; prepare it with: chainzoom train pocket-data {folder}")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = candidates(folder, [row for row in rows if _may_be_shown(row)])
    chosen = choose([*found, *(_drawn(coat) for coat in fur.COATS if coats)], each)
    index, content = [], io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for number, one in enumerate(chosen):
            unit = min(1.0, 4 * float(one.texture.std()))
            pixels = np.rint(np.clip(one.texture / unit, -1, 1) * 127 + 128).astype(np.uint8)
            picture, name = io.BytesIO(), f"{number:03d}.webp"
            PILImage.fromarray(pixels).convert("RGB").save(picture, "WEBP", quality=_QUALITY, method=6)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), picture.getvalue())
            said = embed(sentences(one.row["caption"], one.row["materials"])).mean(0)
            index.append(
                {key: one.row[key] for key in ("caption", "materials", "source", "origin", "licence")}
                | {"file": name, "name": Path(one.row["file"]).stem, "unit": round(unit, 5), "words": [round(float(v), 4) for v in said]}
            )
        archive.writestr(zipfile.ZipInfo(INDEX, _EPOCH), json.dumps(index))
    write_bytes(out, content.getvalue())
    return len(chosen)
