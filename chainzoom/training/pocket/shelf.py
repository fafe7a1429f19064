"""Making the shelf of exemplars (``backbones.exemplars``) from the training pictures: some surfaces of every material."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.atomic import write_bytes
from chainzoom.backbones.exemplars import INDEX, QUIET, Exemplars
from chainzoom.errors import OptionError
from chainzoom.training.pocket import fur, quiet
from chainzoom.training.pocket.cuts import cuts, whole
from chainzoom.training.pocket.pictures import MANIFEST, Embed, sentences

_QUALITY = 80
_ORDERED = ("brick", "cloth", "metal", "paving", "roof tiles", "stone wall", "wicker", "wood")
"""Laid, woven or plated: order is what they are known by, so they repeat as they are."""
_FAINT = ("plaster", QUIET)
_FAINTEST = 0.04
"""Contrast that an exemplar is given at least, but for those that are faint by nature."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNLIKE = ("skeletal", "fabricpattern", "carpet")
"""In names of pictures that say something else than the surface: animals' skins spread out flat, a printed pattern, ornament."""
_WORKERS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A cut of a picture, which continues on its other side, in half precision, its merit (lower is better), its number among the
    picture's cuts, and how often it is to be drawn beside the others of its material (mean 1).
    """

    row: dict[str, Any]
    texture: NDArray[np.float16]
    merit: float = 0.0
    number: int = 0
    chance: float = 1.0

    @property
    def name(self) -> str:
        """Of this cut alone."""
        return f"{self.row['file']} {self.number}"

    @property
    def material(self) -> str:
        """What it is first of all."""
        return str(self.row["materials"][0])

    def shelved(self) -> tuple[dict[str, Any], bytes]:
        """Its row in a shelf's index, but for file and words, and its encoded picture."""
        texture = self.texture.astype(np.float32)
        texture *= np.float32(1 if self.material in _FAINT else max(1.0, _FAINTEST / float(texture.std())))
        unit = min(1.0, 4 * float(texture.std()))
        pixels = np.rint(np.clip(texture / unit, -1, 1) * 127 + 128).astype(np.uint8)
        picture = io.BytesIO()
        PILImage.fromarray(pixels).convert("RGB").save(picture, "WEBP", quality=_QUALITY, method=4)
        own = {"name": Path(self.row["file"]).stem, "unit": round(unit, 5), "ordered": self.material in _ORDERED}
        own["chance"] = round(self.chance, 3)
        return {key: self.row[key] for key in ("caption", "materials", "source", "origin", "licence")} | own, picture.getvalue()

    def exemplar(self) -> Exemplars:
        """A shelf of this one alone."""
        row, picture = self.shelved()
        return Exemplars([row | {"words": [1.0]}], [picture])


def candidates(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Candidate]:
    """The usable cuts of every picture, at several sizes."""

    def of(row: dict[str, Any]) -> list[Candidate]:
        with PILImage.open(folder / row["file"]) as picture:
            found = cuts(picture.convert("L"), row["materials"][0] in _ORDERED)
        return [Candidate(row, texture.astype(np.float16), merit, number) for number, (texture, merit) in enumerate(found)]

    with ThreadPoolExecutor(_WORKERS) as pool:
        return [one for found in pool.map(of, rows) for one in found]


def best(found: Sequence[Candidate], each: int) -> list[Candidate]:
    """Up to ``each`` of every material by merit, one a picture, of different groups as long as there are any."""
    chosen: list[Candidate] = []
    for material in sorted({one.material for one in found}):
        own = sorted((one for one in found if one.material == material), key=lambda one: (one.merit, one.row["file"]))
        firsts: dict[str, Candidate] = {}
        for one in own:
            firsts.setdefault(one.row["file"], one)
        groups: dict[str, Candidate] = {}
        for one in firsts.values():
            groups.setdefault(one.row["group"], one)
        others = [one for one in firsts.values() if groups[one.row["group"]] is not one]
        chosen += [*groups.values(), *others][:each]
    return chosen


def _may_be_shown(row: dict[str, Any]) -> bool:
    """A training surface whose licence lets a cut of it be handed on beside code under other terms."""
    surface = row["split"] == "train" and row["kind"] != "photo" and bool(row["materials"])
    return surface and not row["licence"].startswith("GPL") and not any(name in row["file"] for name in _UNLIKE)


def _drawn(coat: fur.Coat) -> Candidate:
    """A drawn coat."""
    row = {"file": f"drawn-{coat.name}-fur", "caption": coat.caption, "materials": ["fur"], "group": coat.name, "origin": coat.name}
    texture = whole(PILImage.fromarray(fur.draw(coat)))
    return Candidate({**row, "source": fur.SOURCE, "licence": fur.LICENCE}, texture.astype(np.float16))


def _plain(plain: quiet.Plain) -> Candidate:
    """A drawn surface for words that name none."""
    row = {"file": plain.name, "caption": "plain", "materials": [QUIET], "group": plain.name, "origin": plain.name}
    return Candidate({**row, "source": quiet.SOURCE, "licence": quiet.LICENCE}, quiet.draw(plain).astype(np.float16))


def build(folder: Path, out: Path, embed: Embed, each: int = 10, drawn: bool = True, eyes: Path | None = None) -> int:
    """Write the shelf from the split ``train`` of a prepared folder; returns how many exemplars it holds.

    ``drawn``: drawn furs and plain surfaces too; ``eyes``: folder with AlexNet's archive, to choose surfaces that together look like real
    ones of their material (``alike``). Raises OptionError when the folder is not prepared, WeightsError.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise OptionError(f"{folder} holds no {MANIFEST}; prepare it with: chainzoom train pocket-data {folder}")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = candidates(folder, [row for row in rows if _may_be_shown(row)])
    if eyes is None:
        chosen = best(found, each)
    else:
        from chainzoom.training.pocket.alike import choose

        chosen = choose(folder, eyes, found, each)
    if drawn:
        chosen += [*(_drawn(coat) for coat in fur.COATS), *(_plain(plain) for plain in quiet.PLAINS)]
    index, content = [], io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for number, one in enumerate(chosen):
            own, picture = one.shelved()
            name = f"{number:03d}.webp"
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), picture)
            said = embed(sentences(one.row["caption"], one.row["materials"])).mean(0)
            index.append(own | {"file": name, "words": [round(float(v), 4) for v in said]})
        archive.writestr(zipfile.ZipInfo(INDEX, _EPOCH), json.dumps(index))
    write_bytes(out, content.getvalue())
    return len(chosen)
