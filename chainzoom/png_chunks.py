"""PNG as a list of chunks (W3C PNG, third edition, section 5): check a file, read its texts, build one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEY = "XML:com.adobe.xmp"
_BLOCK = 1 << 20
_TEXT_LIMIT = 16 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def text_chunk(key: str, text: str) -> bytes:
    """``tEXt`` for ASCII, else ``iTXt`` (UTF-8); XMP always goes into ``iTXt``, as its specification asks."""
    name = key.encode("latin-1")
    if not 0 < len(name) < 80:
        raise ValueError(f"a PNG keyword has 1 to 79 characters; got {len(name)}")
    if text.isascii() and key != XMP_KEY:
        return chunk(b"tEXt", name + b"\0" + text.encode("ascii"))
    return chunk(b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8"))


def walk(file: BinaryIO, *, keep: frozenset[bytes] = frozenset()) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of each chunk up to IEND with every checksum verified; data is empty unless the type is in ``keep``.

    Reads in blocks, so a header that claims gigabytes costs nothing. Raises ValueError for a broken or truncated file.
    """
    if file.read(8) != SIGNATURE:
        raise ValueError("the PNG signature is missing")
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the file is truncated")
        length, kind = struct.unpack(">I4s", head)
        kept, crc, left = [], zlib.crc32(kind), length
        if kind in keep and length > _TEXT_LIMIT:
            raise ValueError(f"a {kind.decode('latin-1')} chunk claims {length} bytes")
        while left:
            block = file.read(min(left, _BLOCK))
            if not block:
                raise ValueError("the file is truncated")
            crc, left = zlib.crc32(block, crc), left - len(block)
            if kind in keep:
                kept.append(block)
        tail = file.read(4)
        if len(tail) < 4:
            raise ValueError("the file is truncated")
        if struct.unpack(">I", tail)[0] != crc:
            raise ValueError(f"the checksum of a {kind.decode('latin-1')!r} chunk is wrong")
        yield kind, b"".join(kept)
        if kind == b"IEND":
            return


def texts(file: BinaryIO) -> dict[str, str]:
    """The uncompressed texts of a PNG, by keyword (``tEXt`` and ``iTXt``). Raises ValueError for a broken file."""
    found: dict[str, str] = {}
    for kind, data in walk(file, keep=frozenset({b"tEXt", b"iTXt"})):
        key, _, rest = data.partition(b"\0")
        if kind == b"tEXt":
            found[key.decode("latin-1")] = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            found[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return found
