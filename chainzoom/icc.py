"""Colour profiles: from whatever space a photo was saved in to sRGB.

Pillow's LittleCMS works on 8 bits. Deep photos with a matrix profile (ICC.1:2022, section 8.3 and 10.6, 10.18) are converted in float here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageCms

Space = Literal["grey", "rgb", "cmyk", "lab"]
Floats = NDArray[np.float32]

# Linear sRGB to XYZ under D50, the profile connection space's white (Bradford-adapted primaries of IEC 61966-2-1)
_SRGB_TO_XYZ = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])
_MODES: dict[Space, str] = {"grey": "L", "rgb": "RGB", "cmyk": "CMYK", "lab": "LAB"}
_SIGNATURES: dict[bytes, Space] = {b"GRAY": "grey", b"RGB ": "rgb", b"CMYK": "cmyk", b"Lab ": "lab"}


@dataclass(frozen=True)
class Conversion:
    """How a photo's colours become sRGB.

    space    what to feed: ``grey`` (L), ``rgb``, ``cmyk`` or ``lab`` pictures
    name     the profile's description, or None without a profile
    notes    what a reader of the record must know
    bytes8   8-bit picture in ``space`` -> RGB picture in sRGB; None when the pixels are sRGB already
    floats   the same on float32 (H, W, 3) in [0, 1] (``grey``: three equal channels); None when only ``bytes8`` can do it
    """

    space: Space
    name: str | None = None
    notes: tuple[str, ...] = ()
    bytes8: Callable[[PILImage.Image], PILImage.Image] | None = None
    floats: Callable[[Floats], Floats] | None = None


def conversion(profile: bytes | None, space: Space) -> Conversion:
    """The conversion to sRGB for pixels of ``space`` that carry ``profile``; an unusable profile is noted, never an error."""
    if not profile:
        return _without_profile(space)
    try:
        handle = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = " ".join((ImageCms.getProfileDescription(handle) or "unnamed").split())[:80] or "unnamed"
        feed = _SIGNATURES.get(profile[16:20])
        if feed is None or (feed != space and {feed, space} != {"rgb", "grey"}) or (feed == "grey" and space != "grey"):
            fallback = _without_profile(space)
            wrong = f"ICC profile '{name}' is not meant for {space} pixels and was ignored"
            return Conversion(space, None, (*fallback.notes, wrong), fallback.bytes8)
        bytes8 = _by_lcms(handle, feed)
        if feed in ("grey", "rgb") and _is_srgb(bytes8, feed):
            return Conversion(feed, name)
        return Conversion(feed, name, (f"ICC profile '{name}' converted to sRGB",), bytes8, _by_matrix(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error):
        fallback = _without_profile(space)
        return Conversion(space, None, (*fallback.notes, "ICC profile cannot be read and was ignored"), fallback.bytes8)


def _without_profile(space: Space) -> Conversion:
    if space == "cmyk":
        return Conversion(
            space, notes=("CMYK without a profile converted by the plain formula",), bytes8=lambda image: image.convert("RGB")
        )
    if space == "lab":
        return Conversion(
            space, notes=("CIELAB converted to sRGB",), bytes8=_by_lcms(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), space)
        )
    return Conversion(space)


def _by_lcms(profile: ImageCms.ImageCmsProfile, space: Space) -> Callable[[PILImage.Image], PILImage.Image]:
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        _MODES[space],
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def convert(image: PILImage.Image) -> PILImage.Image:
        out = ImageCms.applyTransform(image, transform)
        assert out is not None
        return out

    return convert


def _is_srgb(convert: Callable[[PILImage.Image], PILImage.Image], space: Space) -> bool:
    """Whether a profile moves no colour by more than one level of 255: then the pixels are left alone."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    if space == "grey":
        sample = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(sample[..., None], 3, axis=-1)
    else:
        sample = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        expected = sample
    converted = np.asarray(convert(PILImage.fromarray(sample)), dtype=np.int16)
    return bool(np.abs(converted - expected.astype(np.int16)).max() <= 1)


def _by_matrix(profile: bytes) -> Callable[[Floats], Floats] | None:
    """Float conversion for a matrix or grey-curve profile; None for other kinds (tables, Lab connection space)."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(min(count, 200))]
    tags = {name: profile[offset : offset + size] for name, offset, size in entries}
    if any(name in tags for name in (b"A2B0", b"A2B1", b"A2B2")):
        return None
    if b"kTRC" in tags and profile[16:20] == b"GRAY":
        grey = _curve(tags[b"kTRC"])
        return lambda image: _encode(grey(image.astype(np.float64)))
    if profile[20:24] != b"XYZ " or not all(name in tags for name in (b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ")):
        return None
    curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    columns = [np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    matrix = np.linalg.inv(_SRGB_TO_XYZ) @ np.stack(columns, axis=1)

    def convert(image: Floats) -> Floats:
        linear = np.stack([curve(image[..., c].astype(np.float64)) for c, curve in enumerate(curves)], axis=-1)
        return _encode(linear @ matrix.T)

    return convert


def _curve(tag: bytes) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Tone curve from a ``curv`` or ``para`` tag: device value in [0, 1] -> linear light."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        values = np.array(struct.unpack_from(f">{count}H", tag, 12), dtype=np.float64)
        if count == 1:
            return lambda x: np.power(x, values[0] / 256)
        return lambda x: np.interp(x, np.linspace(0, 1, count), values / 65535)
    if tag[:4] != b"para":
        raise ValueError("tone curve of unknown type")
    (kind,) = struct.unpack_from(">H", tag, 8)
    given = [v / 65536 for v in struct.unpack_from(f">{(1, 3, 4, 5, 7)[min(kind, 4)]}i", tag, 12)]
    g, a, b = (*given, 1.0, 0.0)[:3] if kind == 0 else given[:3]
    c = given[3] if kind >= 2 else 0.0
    d = given[4] if kind >= 3 else (-b / a if kind in (1, 2) else 0.0)
    if kind == 2:  # (ax+b)^g + c, below the break c
        return lambda x: np.where(x >= d, np.power(np.maximum(a * x + b, 0), g), 0.0) + c
    slope, e, f = (c if kind >= 3 else 0.0), (given[5] if kind == 4 else 0.0), (given[6] if kind == 4 else 0.0)
    return lambda x: np.where(x >= d, np.power(np.maximum(a * x + b, 0), g) + e, slope * x + f)


def _encode(linear: NDArray[np.float64]) -> Floats:
    """Linear light to sRGB (IEC 61966-2-1), clipped to [0, 1]."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055).astype(np.float32)
