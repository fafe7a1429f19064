"""Pictures that chainzoom writes: PNG of 8 or 16 bits in sRGB, with provenance, the same bytes for the same pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainzoom import png_chunks
from chainzoom.atomic import write_bytes
from chainzoom.errors import ImageError, OptionError
from chainzoom.images import Image, to_uint8, to_uint16
from chainzoom.photos import Photo
from chainzoom.png_chunks import XMP_KEY, chunk, text_chunk
from chainzoom.provenance import Provenance, text_chunks, xmp

_LEVEL = 6
_COLOUR_TYPE = {3: 2, 4: 6}
# sRGB with its rendering intent, and for readers that do not know it gamma and primaries (W3C PNG, third edition, 11.3.2)
_SRGB = (
    chunk(b"sRGB", b"\0")
    + chunk(b"gAMA", struct.pack(">I", 45455))
    + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
)


def write_png(
    path: Path,
    image: Image,
    *,
    depth: Literal[8, 16] = 8,
    alpha: NDArray[np.float32] | None = None,
    provenance: Provenance | None = None,
) -> bytes:
    """Write (H, W, 3) float32 in [0, 1], rounded to ``depth`` bits, with optional straight alpha (H, W), whole or not at all.

    Returns the file's bytes, so that a record can hash them. Raises OptionError for a wrong shape or depth, OutputError for the disk.
    """
    data = encode_png(image, depth=depth, alpha=alpha, provenance=provenance)
    write_bytes(path, data)
    return data


def encode_png(
    image: Image, *, depth: Literal[8, 16] = 8, alpha: NDArray[np.float32] | None = None, provenance: Provenance | None = None
) -> bytes:
    """The bytes that :func:`write_png` writes."""
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise OptionError(f"a picture must be (H, W, 3) and not empty; got {image.shape}")
    if alpha is not None and alpha.shape != image.shape[:2]:
        raise OptionError(f"alpha must be {image.shape[:2]} like its picture; got {alpha.shape}")
    if depth not in (8, 16):
        raise OptionError(f"depth must be 8 or 16 bits; got {depth}")
    samples = image if alpha is None else np.concatenate((image, alpha[..., None]), axis=-1)
    height, width, channels = samples.shape
    integers: NDArray[Any] = to_uint8(samples) if depth == 8 else to_uint16(samples).astype(">u2")
    rows = np.ascontiguousarray(integers).view(np.uint8).reshape(height, -1)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPE[channels], 0, 0, 0))
    texts = b"" if provenance is None else _texts(provenance)
    pixels = chunk(b"IDAT", zlib.compress(_filtered(rows, channels * depth // 8).tobytes(), _LEVEL))
    return png_chunks.SIGNATURE + head + _SRGB + texts + pixels + chunk(b"IEND", b"")


def read_png(path: Path) -> tuple[Image, NDArray[np.float32] | None]:
    """A picture and its alpha, exactly as :func:`write_png` rounded them. Raises ImageError."""
    photo = Photo.open(path, min_side=1)
    region, size = (0, 0, photo.width, photo.height), (photo.width, photo.height)
    return photo.read(region, size), photo.read_alpha(region, size)


def read_provenance(path: Path) -> dict[str, str]:
    """The texts of a PNG by keyword, XMP under ``XML:com.adobe.xmp``; empty without any. Raises ImageError when it is no whole PNG."""
    try:
        with path.open("rb") as file:
            return png_chunks.texts(file)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ImageError(f"{path} cannot be read: expected a whole PNG file, got '{reason}'; name one that chainzoom wrote") from error


def _texts(provenance: Provenance) -> bytes:
    named = text_chunks(provenance) | {XMP_KEY: xmp(provenance)}
    return b"".join(text_chunk(key, text) for key, text in named.items())


def _filtered(rows: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """Rows with their filter byte in front; each row takes the filter with the smallest sum of absolute differences (PNG, section 12.7)."""
    height, width = rows.shape
    best = np.zeros((height, width + 1), np.uint8)
    cost = np.full(height, np.iinfo(np.int64).max)
    left, up, corner = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel:] = rows[:, :-pixel]
    up[1:] = rows[:-1]
    corner[1:, pixel:] = rows[:-1, :-pixel]
    for kind, predicted in ((1, left), (2, up), (4, _paeth(left, up, corner))):
        residual = rows - predicted
        total = np.abs(residual.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = total < cost
        cost[better] = total[better]
        best[better, 0], best[better, 1:] = kind, residual[better]
    return best


def _paeth(left: NDArray[np.uint8], up: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
