"""What a whole enlargement keeps of its photo's EXIF: who, when, where and with what; nothing that describes the old pixels."""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PILImage

_EXIF, _GPS = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
_KEPT = frozenset({0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x013C, 0x8298})
"""Description, make, model, date, artist, host, copyright. Not orientation, sizes, resolution, thumbnail: pixels are upright and new."""
_DROPPED = frozenset({0x927C, 0xA001, 0xA002, 0xA003, 0xA005, 0xA20E, 0xA20F, 0xA210, 0xA500})
"""Maker note (its offsets break when moved), colour space, sizes, interoperability, focal plane resolution, gamma."""
_COLOUR_SPACE, _SRGB = 0xA001, 1
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


@dataclass(frozen=True, slots=True)
class Entry:
    """A TIFF directory entry: tag, field type, number of values, and their bytes, little-endian."""

    tag: int
    kind: int
    count: int
    data: bytes


def read_exif(path: Path) -> bytes:
    """A photo's EXIF, cleaned, as a little-endian TIFF block without the ``Exif`` prefix; empty when there is none or it is broken."""
    try:
        found = _open(path)
        if not found:
            return b""
        clean = PILImage.Exif()
        clean.endian = "<"
        for tag in sorted(_KEPT & set(found)):
            clean[tag] = found[tag]
        details = {tag: value for tag, value in found.get_ifd(_EXIF).items() if tag not in _DROPPED}
        place = dict(found.get_ifd(_GPS))
        if not (len(clean) or details or place):
            return b""
        clean[_EXIF] = {**details, _COLOUR_SPACE: _SRGB}
        if place:
            clean[_GPS] = place
        return clean.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # EXIF blocks are often malformed, and a broken one is not worth a picture
        return b""


def _open(path: Path) -> PILImage.Exif:
    try:
        with PILImage.open(path) as image:
            return image.getexif()
    except UnidentifiedImageError:
        found = PILImage.Exif()
        found.load(importlib.import_module("pillow_heif").open_heif(path).info.get("exif") or b"")
        return found


def directories(block: bytes) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """The entries of the main, EXIF and GPS directories of a little-endian TIFF block, pointers left out. Raises ValueError."""
    if not block:
        return [], [], []
    if block[:4] != b"II*\0":
        raise ValueError("an EXIF block must be little-endian")
    main = _directory(block, struct.unpack_from("<I", block, 4)[0])
    pointers = {entry.tag: struct.unpack("<I", entry.data[:4])[0] for entry in main if entry.tag in (_EXIF, _GPS)}
    inner = [_directory(block, pointers[tag]) if tag in pointers else [] for tag in (_EXIF, _GPS)]
    return [entry for entry in main if entry.tag not in pointers], inner[0], inner[1]


def _directory(block: bytes, offset: int) -> list[Entry]:
    (count,) = struct.unpack_from("<H", block, offset)
    entries = []
    for number in range(count):
        at = offset + 2 + 12 * number
        tag, kind, values = struct.unpack_from("<HHI", block, at)
        size = _SIZES.get(kind, 1) * values
        start = at + 8 if size <= 4 else struct.unpack_from("<I", block, at + 8)[0]
        entries.append(Entry(tag, kind, values, block[start : start + size]))
    return entries
