"""From a file to pixels in memory: which formats, which limits, and every way a file can be bad.

Pixels stay as stored: an 8-bit Pillow picture, not turned, not converted. Pillow has no 16-bit colour mode, but its decoders can be told
to keep the high or the low byte of each sample; a deep photo is the pair of both, so crops and turns are the same for all photos.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Literal

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from chainzoom import png_chunks
from chainzoom.errors import ImageError, MissingExtraError

FORMATS = "JPEG, PNG, TIFF, WebP, AVIF, BMP, GIF or HEIC"
_PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_SIGNATURES = (
    (b"\xff\xd8\xff", 0, "JPEG"),
    (png_chunks.SIGNATURE, 0, "PNG"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"WEBP", 8, "WebP"),
    (b"ftypavi", 4, "AVIF"),
    (b"GIF8", 0, "GIF"),
)
_ORIENTATION, _BITS, _PHOTOMETRIC, _PLANAR = 0x0112, 258, 262, 284
_DECODER = threading.Lock()

Layout = Literal["plain", "pair", "grey16", "greyalpha16"]


@dataclass(frozen=True)
class Decoded:
    """A photo's stored pixels and what its file says of them.

    layout       ``plain``: ``high`` holds 8-bit samples in Pillow's mode. ``pair``: RGB or RGBA of 16 bits, ``high`` and ``low`` bytes.
                 ``grey16``: ``high`` is I;16. ``greyalpha16``: ``high`` is RGBA holding (grey high, grey low, alpha high, alpha low)
    maximum      the sample value that means 1.0
    inverted     0 is white (grey TIFF)
    premultiplied  colour was stored times alpha (``pair`` only)
    transparent  the 16-bit sample value(s) that mean "transparent", or None
    orientation  EXIF orientation 1..8 still to be applied
    """

    high: PILImage.Image
    low: PILImage.Image | None
    layout: Layout
    maximum: int
    inverted: bool
    premultiplied: bool
    transparent: tuple[int, ...] | None
    orientation: int
    icc: bytes | None
    sha256: str
    notes: tuple[str, ...]


def decode(path: Path, *, max_pixels: int, min_side: int) -> Decoded:
    """Read and decode a whole picture file. Raises ImageError (or MissingExtraError for HEIC) for whatever cannot be used."""
    with _regular_file(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        start = file.read(64)
        file.seek(0)
        try:
            with _pillow_limits(max_pixels):
                if _looks_like_heic(start):
                    return _decode_heic(path, file, sha256, max_pixels, min_side)
                if start.startswith(png_chunks.SIGNATURE):
                    for _ in png_chunks.walk(file):
                        pass
                return _decode_with_pillow(path, file, sha256, max_pixels, min_side)
        except (ImageError, MissingExtraError):
            raise
        except PILImage.DecompressionBombError as error:
            raise ImageError(f"{path} claims far too many pixels: expected at most {max_pixels} in all; shrink it first") from error
        except MemoryError as error:
            raise ImageError(f"{path} does not fit: expected enough memory for all its pixels at 8 or 16 bits; shrink it first") from error
        except UnidentifiedImageError as error:
            raise ImageError(
                f"{path} is no picture that can be read: expected {FORMATS}, got {_describe(start)}; convert it first"
            ) from error
        except Exception as error:  # decoders meet hostile bytes and raise nearly anything
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise ImageError(f"{path} is damaged: expected a whole {FORMATS} file, got '{reason}'; get a fresh copy") from error


@contextmanager
def _regular_file(path: Path) -> Iterator[BufferedReader]:
    try:
        status = path.stat()  # before opening: opening a pipe waits, opening a device may act
        if S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder: expected a picture file ({FORMATS}); name one file in it")
        if not S_ISREG(status.st_mode):
            raise ImageError(f"{path} is a pipe, socket or device: expected a picture file; save the picture to a file first")
        if status.st_size == 0:
            raise ImageError(f"{path} is empty: expected a picture file ({FORMATS}), got 0 bytes; get a fresh copy")
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist: expected a picture file; check the spelling") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(
            f"{str(path)!r} cannot be opened: expected a readable picture file, got '{reason}'; check its permissions"
        ) from error
    with file:
        yield file


@contextmanager
def _pillow_limits(max_pixels: int) -> Iterator[None]:
    """Pillow's own pixel limit set to ours and its warnings silenced, one decode at a time, and both put back."""
    with _DECODER, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            PILImage.MAX_IMAGE_PIXELS = before


def _check_size(path: Path, size: tuple[int, int], max_pixels: int, min_side: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{path} has {width} x {height} pixels: expected at most {max_pixels} in all; shrink it, or raise max_pixels if you trust it"
        )
    if min(size) < min_side:
        raise ImageError(f"{path} has {width} x {height} pixels: expected at least {min_side} on each side; take a larger picture")


def _decode_with_pillow(path: Path, file: BufferedReader, sha256: str, max_pixels: int, min_side: int) -> Decoded:
    image = _open(file)
    _check_size(path, image.size, max_pixels, min_side)
    notes = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("several frames or pages: the first is used")
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    mode, rawmode = image.mode, _rawmode(image)
    bits = tags.get(_BITS, (8,))
    deep = rawmode.rstrip("BLNR").endswith(";16")
    if mode in ("I", "F") or mode.startswith(("I;32", "F;")):
        raise ImageError(f"{path} holds signed, float or 32-bit samples: expected 8 or 16 bits per channel; convert it to 16-bit PNG")
    layout: Layout = "plain"
    low, premultiplied = None, False
    if mode.startswith("I;16"):
        layout = "grey16"
    elif rawmode == "LA;16B":
        layout = "greyalpha16"
        _retarget(image, "LA;16B", "RGBA")
    elif deep and mode in ("RGB", "RGBA") and tags.get(_PLANAR, 1) == 1:
        layout, premultiplied = "pair", rawmode.startswith("RGBa")
        plain = rawmode.replace("RGBa", "RGBA")
        _retarget(image, rawmode, plain)
        low = _open(file)
        _retarget(low, rawmode, plain[:-1] + _other_order(plain[-1]))
    elif max(bits) > 8:
        if tags.get(_PLANAR, 1) != 1:
            raise ImageError(f"{path} is a 16-bit TIFF with separate colour planes: expected interleaved samples; save it so, or as PNG")
        notes.append(f"{max(bits)}-bit {mode} read at 8 bit")
    for part in (image, low):
        if part is not None:
            file.seek(0)
            part.load()
    orientation = _orientation(image, tags, notes)
    transparency = image.info.get("transparency") if layout in ("grey16", "pair") else None
    return Decoded(
        high=image,
        low=low,
        layout=layout,
        maximum=255 if layout == "plain" else 4095 if mode == "I;16" and bits == (12,) else 65535,
        inverted=layout == "grey16" and tags.get(_PHOTOMETRIC, 1) == 0,
        premultiplied=premultiplied,
        transparent=None if transparency is None else transparency if isinstance(transparency, tuple) else (transparency,),
        orientation=orientation,
        icc=_profile(image),
        sha256=sha256,
        notes=tuple(notes),
    )


def _open(file: BufferedReader) -> PILImage.Image:
    file.seek(0)
    return PILImage.open(file, formats=_PILLOW_FORMATS)


def _profile(image: PILImage.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def _orientation(image: PILImage.Image, tags: dict[int, Any], notes: list[str]) -> int:
    """The turn still to be made, 1..8; asked after loading, because PNG may hold EXIF behind its pixels and TIFF is turned by then."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF blocks are often malformed; the picture is still good
        notes.append("EXIF data cannot be read; orientation taken as normal")
        value = 1
    left = value if isinstance(value, int) and 1 <= value <= 8 else 1
    noted = tags.get(_ORIENTATION, left)
    if noted in range(2, 9):
        notes.append(f"EXIF orientation {noted} applied")
    return left


def _tiles(image: PILImage.Image) -> list[Any]:
    return list(getattr(image, "tile", []))


def _rawmode(image: PILImage.Image) -> str:
    """Name of the stored sample layout in the decoder's arguments, e.g. ``RGB;16B``; empty where a plugin has none."""
    args = _tiles(image)[0].args if _tiles(image) else ""
    first = args if isinstance(args, str) else args[0] if args else ""
    return first if isinstance(first, str) else ""


def _retarget(image: PILImage.Image, old: str, new: str) -> None:
    """Let the decoder unpack samples as ``new`` instead of ``old``."""
    tiles = []
    for tile in _tiles(image):
        args = new if isinstance(tile.args, str) else (new, *tile.args[1:])
        if _rawmode(image) != old:
            raise ValueError(f"sample layout {_rawmode(image)} where {old} was expected")
        tiles.append(tile._replace(args=args))
    image.tile = tiles  # type: ignore[attr-defined]


def _other_order(order: str) -> str:
    """The byte order that makes the decoder keep the other byte of each 16-bit sample ("N" is the machine's own)."""
    native = {"little": "L", "big": "B"}[sys.byteorder]
    return {"L": "B", "B": "L"}[native if order == "N" else order]


def _looks_like_heic(start: bytes) -> bool:
    if start[4:8] != b"ftyp":
        return False
    brands = {start[i : i + 4] for i in (8, *range(16, min(len(start), int.from_bytes(start[:4], "big")), 4))}
    return not brands & {b"avif", b"avis"} and bool(brands & _HEIC_BRANDS)


def _decode_heic(path: Path, file: BufferedReader, sha256: str, max_pixels: int, min_side: int) -> Decoded:
    """HEIC through pillow-heif at 8 bits; the container's own rotation is applied by the library and EXIF's is void by the standard."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise MissingExtraError(f"reading {path} (HEIC)", "pillow-heif", "heic") from None
    heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    _check_size(path, heif.size, max_pixels, min_side)
    image: PILImage.Image = heif.to_pillow()
    notes = ("deep HEIC read at 8 bit",) if heif.info.get("bit_depth", 8) > 8 else ()
    return Decoded(image, None, "plain", 255, False, False, None, 1, _profile(image), sha256, notes)


def _describe(start: bytes) -> str:
    for signature, offset, name in _SIGNATURES:
        if start[offset:].startswith(signature):
            return f"a damaged or unsupported {name} file"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in start):
        return "what looks like text"
    return f"a file that starts with {start[:8].hex(' ')}"
