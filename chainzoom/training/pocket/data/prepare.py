"""The prepared folder: ``pictures/*.png``, ``LICENCES.md`` and, last, ``manifest.jsonl``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chainzoom.atomic import output_error, remove_leftovers, write_bytes
from chainzoom.errors import OutputError
from chainzoom.training.pocket.data.archives import opened
from chainzoom.training.pocket.data.packages import Tell, bring
from chainzoom.training.pocket.data.render import render, size_when, stamp_of, write_png
from chainzoom.training.pocket.data.sources import DataError, Source
from chainzoom.weights import sha256_of

MANIFEST, LICENCES, PICTURES = "manifest.jsonl", "LICENCES.md", "pictures"
_ENDINGS = re.compile(r"(\.(png|dds|jpe?g|tga|cached))+$", re.IGNORECASE)

Drawn = Callable[[Source, int], None]
"""Called after each picture with its package and how many of the package's pictures are there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest; the fields' order is the line's."""

    file: str
    caption: str
    materials: list[str]
    kind: str
    split: str
    group: str
    source: str
    origin: str
    licence: str
    width: int
    height: int
    sha256: str


def prepare(sources: Sequence[Source], out: Path, cache: Path, *, mirror: str = "", tell: Tell, drawn: Drawn) -> list[Row]:
    """Bring the packages, write their pictures and return the manifest's rows.

    Goes on where an earlier run stopped: packages with the right SHA-256 and pictures made in the same way stay. The same packages give the
    same manifest, byte for byte, with the same Pillow. Raises DataError, OutputError.
    """
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".prepare.lock", timeout=0):
            remove_leftovers(out / PICTURES)
            rows = [row for source in sources for row in _pictures(source, out, cache, mirror, tell, drawn)]
            write_bytes(out / LICENCES, licences(sources).encode())
            lines = (json.dumps({name: getattr(row, name) for name in Row.__slots__}, ensure_ascii=False) for row in rows)
            write_bytes(out / MANIFEST, "".join(f"{line}\n" for line in lines).encode())
    except Timeout:
        raise OutputError(f"another run is writing to {out}; wait until it is done") from None
    except OSError as error:
        raise output_error(out, error) from error
    return rows


def _pictures(source: Source, out: Path, cache: Path, mirror: str, tell: Tell, drawn: Drawn) -> Iterator[Row]:
    archive = bring(source, cache, mirror=mirror, tell=tell)
    names: set[str] = set()
    with opened(source, archive, cache) as read:
        for count, picture in enumerate(source.pictures, 1):
            name = f"{PICTURES}/{file_name(source, picture.origin)}"
            if name in names:
                raise DataError(f"two pictures of {source.label} would be {name}")
            names.add(name)
            path, stamp = out / name, stamp_of(source.label, picture)
            size = size_when(path, stamp)
            if size is None:
                image = render(read(picture.origin), picture)
                write_png(image, stamp, path)
                size = image.size
            drawn(source, count)
            yield Row(
                file=name,
                caption=picture.caption,
                materials=list(picture.materials),
                kind=picture.kind,
                split=picture.split,
                group=picture.group,
                source=source.label,
                origin=picture.origin,
                licence=picture.licence or source.licence,
                width=size[0],
                height=size[1],
                sha256=sha256_of(path),
            )


def file_name(source: Source, origin: str) -> str:
    """A short, safe name: the package and the last four parts of the origin's path."""
    tail = "/".join(_ENDINGS.sub("", origin).split("/")[-4:])
    return re.sub(r"[^a-z0-9]+", "-", f"{source.name} {tail}".lower()).strip("-") + ".png"


def licences(sources: Sequence[Source]) -> str:
    """The text that goes with the pictures: who made them and on which terms they may be passed on."""
    parts = [
        "# Licences of the pictures\n\nTaken from these packages; `manifest.jsonl` names the package, file and licence of each picture.\n"
    ]
    for source in sources:
        found: dict[str, int] = {}
        for picture in source.pictures:
            name = picture.licence or source.licence
            found[name] = found.get(name, 0) + 1
        counts = ", ".join(f"{name} ({number})" for name, number in sorted(found.items()))
        parts.append(f"## {source.label} ({source.registry})\n\n- Licences: {counts}\n- By: {source.attribution}\n- File: {source.file}\n")
        parts.append(f"- SHA-256: {source.sha256}\n")
    return "\n".join(parts).replace("\n\n- SHA", "\n- SHA")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Pictures of each material in train and test, most first."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for material in row.materials or ["(none)"]:
            counts.setdefault(material, {"train": 0, "test": 0})[row.split] += 1
    return dict(sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0])))
