"""A prepared folder of pictures with captions and materials, as ``chainzoom train pocket-data`` writes it.

DIR/manifest.jsonl   one object a picture: file, caption, materials, kind (texture, photo, object), split (train, test), group, sha256, ...
DIR/pictures/        8-bit RGB PNG
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainzoom.errors import OptionError
from chainzoom.images import Image
from chainzoom.pictures import read_png

MANIFEST = "manifest.jsonl"
COUNT = 10


@dataclass(frozen=True, slots=True)
class Texture:
    """A real picture. ``materials`` are its labels, the most important first; pictures of one ``group`` are never split apart."""

    path: Path
    caption: str
    materials: tuple[str, ...]
    kind: str
    split: str
    group: str
    sha256: str
    width: int
    height: int

    def read(self) -> Image:
        """Its pixels."""
        return read_png(self.path)[0]


def read_textures(folder: Path) -> tuple[Texture, ...]:
    """Everything in a prepared folder. Raises OptionError when it is none."""
    path = folder / MANIFEST
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise OptionError(
            f"{folder} is no prepared folder of textures ({MANIFEST}: {error.strerror}); make one with chainzoom train"
        ) from None
    for number, line in enumerate(filter(None, lines), 1):
        try:
            row = json.loads(line)
            texture = Texture(
                folder / row["file"],
                str(row["caption"]),
                tuple(row["materials"]),
                str(row["kind"]),
                str(row["split"]),
                str(row["group"]),
                str(row["sha256"]),
                int(row["width"]),
                int(row["height"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise OptionError(f"{path}, line {number}, is no entry of a prepared folder: {error}") from None
        found.append(texture)
    return tuple(found)


def plain(textures: Iterable[Texture], split: str, materials: Sequence[str] | None = None) -> list[Texture]:
    """Surfaces of a split that carry exactly one label (out of ``materials`` if given): what a material looks like."""
    chosen = [one for one in textures if one.split == split and one.kind == "texture" and len(one.materials) == 1]
    return [one for one in chosen if materials is None or one.materials[0] in materials]


def choose_materials(textures: Iterable[Texture], count: int = COUNT, split: str = "test") -> tuple[str, ...]:
    """The ``count`` materials with the most groups of plain surfaces in a split (then by pictures, then by name).

    Raises OptionError when fewer have at least two groups, since nothing could be tested on the other.
    """
    groups, pictures = defaultdict(set), Counter[str]()
    for one in plain(textures, split):
        groups[one.materials[0]].add(one.group)
        pictures[one.materials[0]] += 1
    able = [name for name in groups if len(groups[name]) > 1]
    if len(able) < count:
        raise OptionError(f"{count} materials with two groups of plain surfaces each are needed in split {split}; there are {len(able)}")
    return tuple(sorted(able, key=lambda name: (-len(groups[name]), -pictures[name], name))[:count])
