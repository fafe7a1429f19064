"""Choosing the shelf of exemplars (``backbones.exemplars``) from the training pictures: sharp, even, and some of every material."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.atomic import write_bytes
from chainzoom.backbones.exemplars import INDEX, QUIET, SIDE
from chainzoom.errors import OptionError
from chainzoom.images import resize
from chainzoom.training.pocket import fur, quiet
from chainzoom.training.pocket.pictures import MANIFEST, Embed, sentences

_SLOW = 48
"""Standard deviation in pixels of the blur that is taken off: light and large patches belong to the picture, not to the surface."""
_CONTRAST = (0.012, 0.2)
_EVEN = 0.75
"""Largest spread of contrast over a 4 x 4 grid, relative to its mean."""
_FINENESS = (0.7, 8.0)
_REAL = 2.5
"""Fineness of real surfaces at their own pixels: about three times that of whole photos."""
_QUALITY = 80
_ORDERED = ("brick", "cloth", "metal", "paving", "roof tiles", "stone wall", "wicker", "wood")
"""Laid, woven or plated: order is what they are known by, so they repeat as they are."""
_FAINT = ("plaster", QUIET)
_FAINTEST = 0.04
"""Contrast that an exemplar is given at least, but for those that are faint by nature."""
_SEAM = 1.3
"""Largest step across the border of a picture that continues on its other side, relative to the steps inside."""
_FADE = 0.08
"""Share of a cut that is laid over its other end where it does not continue there by itself."""
_NEARLY = 0.9
"""Share of an exemplar's side from which on a picture is stretched to it; smaller ones are laid side by side."""
_LEAST = 0.6
"""A cut is narrowed by so much at most to where its pattern starts anew."""
_TYPICAL = 2.0
"""What being typical counts beside being even."""
_SCALES = (1.0, 0.707, 0.5, 0.354, 0.25)
_EPOCH = (1980, 1, 1, 0, 0, 0)

Cut = tuple[NDArray[np.float32], float]
"""(512, 512) of a cut without its slow part, and its merit (lower is better)."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A cut of a picture, which continues on its other side, with its merit (lower is better) and how typical it is of its material."""

    row: dict[str, Any]
    texture: NDArray[np.float32]
    merit: float
    typical: float = 0.0


def candidates(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Candidate]:
    """The usable cuts of every picture, at several sizes."""
    found = []
    for row in rows:
        with PILImage.open(folder / row["file"]) as picture:
            found += [Candidate(row, *cut) for cut in _cuts(picture.convert("L"), row["materials"][0] in _ORDERED)]
    return found


def _cuts(picture: PILImage.Image, ordered: bool) -> list[Cut]:
    """Of a picture that continues on its other side: the whole, shrunk, and from near; else the best of several parts and scales."""
    if not _continues(_level(picture, picture.size)):
        sizes = [(round(picture.width * scale), round(picture.height * scale)) for scale in _SCALES]
        parts = [_part(_level(picture, size), ordered) for size in sizes if min(size) >= SIDE // 2]
        return sorted((part for part in parts if part is not None), key=lambda cut: cut[1])[:1]
    side = min(picture.size)
    # A stretch beyond a quarter would be seen; small pictures are laid side by side.
    if max(picture.size) > 1.25 * side:
        return []
    found = [_judged(_laid(_level(picture, (size, size)))) for size in (SIDE, SIDE // 2) if size <= max(side, SIDE // 2)]
    while side >= 2 * SIDE:
        found.append(_part(_level(picture, (side, side)), ordered))
        side //= 2
    return [cut for cut in found if cut is not None]


def _level(picture: PILImage.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) in [0, 1] of a grey picture at a size."""
    whole = picture if size == picture.size else picture.resize(size, PILImage.Resampling.LANCZOS)
    return np.asarray(whole, np.float32) / np.float32(255)


def _laid(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Side by side as often as an exemplar holds it."""
    return np.tile(plane, (SIDE // plane.shape[0], SIDE // plane.shape[1]))


def _part(level: NDArray[np.float32], ordered: bool) -> Cut | None:
    """The best of three squares of a picture, made to continue on their other side."""
    least, best = min(level.shape), None
    wide = min(round(SIDE * (1 + _FADE)), least)
    goal = SIDE if least >= _NEARLY * SIDE else SIDE // 2
    height, width = level.shape
    for x, y in {(0, 0), (width - wide, height - wide), ((width - wide) // 2, (height - wide) // 2)}:
        cut = level[y : y + wide, x : x + wide]
        for _ in range(2):
            cut = np.ascontiguousarray(_continued(cut, ordered).T)
        found = _judged(_laid(resize(cut, (goal, goal), "lanczos")))
        if found is not None and (best is None or found[1] < best[1]):
            best = found
    return best


def _continues(plane: NDArray[np.float32]) -> bool:
    for axis in (0, 1):
        steps = np.abs(plane - np.roll(plane, 1, axis)).mean(axis=1 - axis)
        if steps[0] > _SEAM * np.median(steps[1:]):
            return False
    return True


def _continued(plane: NDArray[np.float32], ordered: bool) -> NDArray[np.float32]:
    """(H, w) of (H, W): narrowed to where the pattern starts anew, its end faded into its beginning."""
    width = plane.shape[1]
    fade = max(4, round(_FADE * width))
    start = plane[:, :fade]
    ends = np.arange(round(_LEAST * width) if ordered else width - fade, width - fade + 1)
    end = int(ends[np.argmin([float(np.mean((plane[:, k : k + fade] - start) ** 2)) for k in ends])])
    rise = (np.arange(fade, dtype=np.float32) + 0.5) / fade
    over = plane[:, end : end + fade] * (1 - rise) + start * rise
    if not ordered:  # what is not alike loses contrast where it is mixed
        mean = over.mean()
        over = mean + (over - mean) / np.sqrt((1 - rise) ** 2 + rise**2)
    return np.concatenate([over, plane[:, fade:end]], axis=1)


def _judged(plane: NDArray[np.float32]) -> Cut | None:
    """The texture of a cut and its merit, or None where it is blurred, raw, faint, harsh or uneven."""
    from chainzoom.evaluation.metrics.texture import NATURAL_RATIO, spectral_ratio

    texture = plane - _blurred(plane)
    fineness = spectral_ratio(plane.astype(np.float64)) / NATURAL_RATIO
    blocks = texture.reshape(4, SIDE // 4, 4, SIDE // 4).std(axis=(1, 3))
    contrast, uneven = float(blocks.mean()), float(blocks.std() / max(blocks.mean(), 1e-6))
    if not (_FINENESS[0] <= fineness <= _FINENESS[1] and _CONTRAST[0] <= contrast <= _CONTRAST[1] and uneven <= _EVEN):
        return None
    return texture - texture.mean(), uneven + 0.3 * abs(float(np.log2(fineness / _REAL)))


def _blurred(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A Gaussian blur in float, by three box blurs along each axis, of a picture that repeats."""
    side = int(_SLOW * 2) | 1
    out = plane.astype(np.float64)
    for axis in (0, 1):
        for _ in range(3):
            padded = np.pad(out, [(side // 2 + 1, side // 2) if k == axis else (0, 0) for k in (0, 1)], mode="wrap")
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
    """A drawn coat."""
    row = {"file": f"drawn-{coat.name}-fur", "caption": coat.caption, "materials": ["fur"], "group": coat.name, "origin": coat.name}
    plane = np.asarray(PILImage.fromarray(fur.draw(coat)).convert("L"), np.float32) / np.float32(255)
    for _ in range(2):
        plane = np.ascontiguousarray(_continued(plane, False).T)
    plane = resize(plane, (SIDE, SIDE), "lanczos")
    texture = plane - _blurred(plane)
    return Candidate({**row, "source": fur.SOURCE, "licence": fur.LICENCE}, texture - texture.mean(), 0.0)


def _plain(plain: quiet.Plain) -> Candidate:
    """A drawn surface for words that name none."""
    row = {"file": plain.name, "caption": "plain", "materials": [QUIET], "group": plain.name, "origin": plain.name}
    return Candidate({**row, "source": quiet.SOURCE, "licence": quiet.LICENCE}, quiet.draw(plain), 0.0)


def _judged_all(folder: Path, found: Sequence[Candidate], eyes: Path | None) -> list[Candidate]:
    """The candidates with how typical each is of its material, which counts as merit."""
    if eyes is None:
        return list(found)
    from chainzoom.training.pocket.typical import typical

    planes = [one.texture + np.float32(0.5) for one in found]
    margins = typical(folder, eyes, planes, [one.row["materials"][0] for one in found], [one.row["group"] for one in found])
    return [replace(one, typical=margin, merit=one.merit - _TYPICAL * margin) for one, margin in zip(found, margins, strict=True)]


def build(folder: Path, out: Path, embed: Embed, each: int = 6, drawn: bool = True, eyes: Path | None = None) -> int:
    """Write the shelf from the split ``train`` of a prepared folder; returns how many exemplars it holds.

    ``drawn``: drawn furs and plain surfaces too; ``eyes``: folder with AlexNet's archive, to prefer surfaces that are typical of their
    material. Raises OptionError when the folder is not prepared, WeightsError.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise OptionError(f"{folder} holds no {MANIFEST}; prepare it with: chainzoom train pocket-data {folder}")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = candidates(folder, [row for row in rows if _may_be_shown(row)])
    chosen = choose(_judged_all(folder, found, eyes), each)
    if drawn:
        chosen += [*(_drawn(coat) for coat in fur.COATS), *(_plain(plain) for plain in quiet.PLAINS)]
    index, content = [], io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for number, one in enumerate(chosen):
            texture = one.texture * np.float32(1 if one.row["materials"][0] in _FAINT else max(1.0, _FAINTEST / float(one.texture.std())))
            unit = min(1.0, 4 * float(texture.std()))
            pixels = np.rint(np.clip(texture / unit, -1, 1) * 127 + 128).astype(np.uint8)
            picture, name = io.BytesIO(), f"{number:03d}.webp"
            PILImage.fromarray(pixels).convert("RGB").save(picture, "WEBP", quality=_QUALITY, method=6)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), picture.getvalue())
            said = embed(sentences(one.row["caption"], one.row["materials"])).mean(0)
            own = {"file": name, "name": Path(one.row["file"]).stem, "unit": round(unit, 5), "typical": round(one.typical, 3)}
            own |= {"ordered": one.row["materials"][0] in _ORDERED, "words": [round(float(v), 4) for v in said]}
            index.append({key: one.row[key] for key in ("caption", "materials", "source", "origin", "licence")} | own)
        archive.writestr(zipfile.ZipInfo(INDEX, _EPOCH), json.dumps(index))
    write_bytes(out, content.getvalue())
    return len(chosen)
