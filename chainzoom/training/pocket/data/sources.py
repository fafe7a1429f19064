"""Which packages hold the pictures (``sources.toml``) and which pictures are taken from each (``reviewed/NAME.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from chainzoom.errors import InputError, OptionError

MATERIALS = (
    "asphalt, bark, brick, cardboard, cloth, concrete, cracked earth, dirt, forest floor, fur, grass, gravel, ice, leaves, marble, metal, "
    "mud, paving, plaster, rock, roof tiles, sand, skin, sky, snow, stone wall, thatch, water, wicker, wood"
)
"""The closed list of names that a picture's ``materials`` come from, as one text."""
_NAMES = frozenset(MATERIALS.split(", "))
_KINDS = frozenset({"texture", "photo", "object"})


class DataError(InputError):
    """A package cannot be brought or is not what was expected."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a package, as reviewed.

    ``origin`` is its path in the package (in ``Source.container`` where there is one). ``crop`` is (left, top, right, bottom) in shares of
    the width and height; ``halvings`` says how often the picture is shrunk by two because it was enlarged before. ``group`` names what
    shares pixels: a group is never split between train and test.
    """

    origin: str
    caption: str
    materials: tuple[str, ...]
    group: str
    kind: str = "texture"
    split: str = "train"
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    halvings: int = 0
    licence: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or self.split not in ("train", "test"):
            raise DataError(
                f"{self.origin}: kind and split are {self.kind!r} and {self.split!r}; expected texture, photo or object; train or test"
            )
        if unknown := set(self.materials) - _NAMES:
            raise DataError(f"{self.origin}: unknown materials {sorted(unknown)}; known are: {MATERIALS}")
        left, top, right, bottom = self.crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise DataError(f"{self.origin}: crop {self.crop} is not (left, top, right, bottom) with 0 <= left < right <= 1 and so on")


@dataclass(frozen=True, slots=True)
class Source:
    """A package: where it comes from, the SHA-256 and size in bytes of its file, what its licence asks for, and its pictures."""

    name: str
    version: str
    registry: str
    path: str
    sha256: str
    size: int
    licence: str
    attribution: str
    container: str = ""
    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """Name and version, as the manifest has it."""
        return f"{self.name} {self.version}"

    @property
    def file(self) -> str:
        """The package file's name in the cache."""
        return self.path.rsplit("/", 1)[-1]


def load_sources(only: tuple[str, ...] = ()) -> tuple[Source, ...]:
    """The packages in the order of ``sources.toml``, or those named in ``only``. Raises OptionError for an unknown name."""
    here = files("chainzoom.training.pocket.data")
    table = tomllib.loads(here.joinpath("sources.toml").read_text(encoding="utf-8"))["source"]
    if unknown := set(only) - {row["name"] for row in table}:
        raise OptionError(f"unknown package {', '.join(sorted(unknown))}; known are {', '.join(row['name'] for row in table)}")
    chosen = [row for row in table if not only or row["name"] in only]
    return tuple(
        read_source(row, here.joinpath("reviewed", f"{row['name'].split('/')[-1]}.toml").read_text(encoding="utf-8")) for row in chosen
    )


def read_source(row: dict[str, Any], reviewed: str) -> Source:
    """A row of ``sources.toml`` with its reviewed list; origins there stand without the list's ``prefix`` and ``suffix``."""
    listed = tomllib.loads(reviewed)
    prefix, suffix = listed.get("prefix", ""), listed.get("suffix", "")
    pictures = []
    for entry in listed["pictures"]:
        entry = dict(entry)
        origin = f"{prefix}{entry.pop('origin')}{suffix}"
        crop = tuple(entry.pop("crop", (0.0, 0.0, 1.0, 1.0)))
        group = entry.pop("group", f"{row['name']}/{origin}")
        pictures.append(Picture(origin=origin, crop=crop, group=group, materials=tuple(entry.pop("materials", ())), **entry))
    return Source(**row, pictures=tuple(pictures))
