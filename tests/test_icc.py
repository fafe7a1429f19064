"""Colour conversion, checked against LittleCMS and on photos that carry profiles made here."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageCms

from chainzoom.icc import conversion
from chainzoom.images import from_uint
from chainzoom.photos import Photo
from chainzoom.png_chunks import chunk

# Columns under D50: Adobe RGB (1998), ROMM/ProPhoto, Display P3
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SIZE = (40, 20)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def table(value: float) -> bytes:
    levels = np.rint(np.linspace(0, 1, 1024) ** value * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + levels


def parametric(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*values)


SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(curve: bytes, columns: tuple[tuple[float, ...], ...] = (), name: str = "made for a test", space: bytes = b"RGB ") -> bytes:
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    }
    tags |= {key: b"XYZ \0\0\0\0" + fixed(*c) for key, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=False)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC") if columns else (b"kTRC",), curve)
    body, entries, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        entries += struct.pack(">4sII", key, offset + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249) + b"\0" * 48
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def ramp(channels: int) -> np.ndarray:
    levels = np.random.default_rng(1).integers(0, 256, (SIZE[1], SIZE[0], channels), dtype=np.uint8)
    return levels[..., 0] if channels == 1 else levels


def by_littlecms(array: np.ndarray, icc: bytes, flags: ImageCms.Flags = ImageCms.Flags.BLACKPOINTCOMPENSATION) -> np.ndarray:
    out = ImageCms.profileToProfile(
        PILImage.fromarray(array),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=flags,
    )
    assert out is not None
    return from_uint(np.asarray(out))


PROFILES = {
    "adobe": profile(gamma(2.19921875), ADOBE),
    "prophoto": profile(table(1.8), PROPHOTO),
    "p3": profile(parametric(3, *SRGB_CURVE), P3),
    "para0": profile(parametric(0, 2.0), ADOBE),
    "para1": profile(parametric(1, 2.4, 0.9, 0.1), ADOBE),
    "para2": profile(parametric(2, 2.4, 0.9, 0.05, 0.02), ADOBE),
    "para4": profile(parametric(4, *SRGB_CURVE, 0.0, 0.0), ADOBE),
    "linear": profile(b"curv" + b"\0" * 8, ADOBE),
}


def whole(photo: Photo) -> np.ndarray:
    return photo.read((0, 0, photo.width, photo.height), (photo.width, photo.height))


@pytest.mark.parametrize("name", PROFILES)
def test_float_conversion_agrees_with_littlecms(name: str) -> None:
    found = conversion(PROFILES[name], "rgb")
    assert found.floats is not None
    ours, theirs = found.floats(from_uint(ramp(3))), by_littlecms(ramp(3), PROFILES[name], ImageCms.Flags.NONE)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1.6 / 255
    assert np.abs(ours - from_uint(ramp(3))).max() > 4 / 255


def test_grey_curve_agrees_with_littlecms() -> None:
    icc = profile(gamma(1.8), space=b"GRAY")
    found = conversion(icc, "grey")
    assert found.floats is not None
    ours = found.floats(np.repeat(from_uint(ramp(1))[..., None], 3, axis=-1))
    assert np.abs(ours - by_littlecms(ramp(1), icc)).max() < 1.6 / 255


@pytest.mark.parametrize("icc", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), None], ids=["sRGB", "none"])
def test_srgb_leaves_pixels_alone(tmp_path: Path, icc: bytes | None) -> None:
    PILImage.fromarray(ramp(3)).save(tmp_path / "a.png", icc_profile=icc)
    photo = Photo.open(tmp_path / "a.png")
    assert photo.icc_profile_name == ("sRGB built-in" if icc else None)
    assert photo.notes == ()
    np.testing.assert_array_equal(whole(photo), from_uint(ramp(3)))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_photos_are_converted(tmp_path: Path, name: str) -> None:
    PILImage.fromarray(ramp(3)).save(tmp_path / name, icc_profile=PROFILES["adobe"], **({"lossless": True} if name == "a.webp" else {}))
    photo = Photo.open(tmp_path / name)
    np.testing.assert_array_equal(whole(photo), by_littlecms(ramp(3), PROFILES["adobe"]))
    assert photo.icc_profile_name == "made for a test"
    assert photo.notes == ("ICC profile 'made for a test' converted to sRGB",)


def test_alpha_is_not_converted(tmp_path: Path) -> None:
    PILImage.fromarray(ramp(4)).save(tmp_path / "a.png", icc_profile=PROFILES["adobe"])
    photo = Photo.open(tmp_path / "a.png")
    np.testing.assert_array_equal(whole(photo), by_littlecms(ramp(4)[..., :3].copy(), PROFILES["adobe"]))
    alpha = photo.read_alpha((0, 0, *SIZE), SIZE)
    assert alpha is not None
    np.testing.assert_array_equal(alpha, from_uint(ramp(4)[..., 3]))


def test_grey_photos(tmp_path: Path) -> None:
    grey = profile(gamma(1.8), space=b"GRAY")
    PILImage.fromarray(ramp(1)).save(tmp_path / "a.png", icc_profile=grey)
    np.testing.assert_array_equal(whole(Photo.open(tmp_path / "a.png")), by_littlecms(ramp(1), grey))
    PILImage.fromarray(ramp(1)).save(tmp_path / "b.png", icc_profile=PROFILES["adobe"])  # wrong kind, but common and harmless
    three = np.repeat(ramp(1)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(whole(Photo.open(tmp_path / "b.png")), by_littlecms(three, PROFILES["adobe"]))


def test_deep_photos_keep_their_depth(tmp_path: Path) -> None:
    levels = np.linspace(20000, 20400, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE[1], SIZE[0])
    array = np.repeat(levels[..., None], 3, axis=-1)
    rows = np.pad(array.astype(">u2").reshape(SIZE[1], -1).view(np.uint8), ((0, 0), (1, 0))).tobytes()

    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(PROFILES["prophoto"]))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + icc + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    photo = Photo.open(tmp_path / "a.png")
    found = whole(photo)
    assert photo.bits == 16
    assert len(np.unique(found)) > 300  # 8 bits would leave three
    assert np.abs(found - by_littlecms((array // 257).astype(np.uint8), PROFILES["prophoto"])).max() < 2.5 / 255
    assert np.ptp(found, axis=-1).max() < 1e-3  # grey stays grey


@pytest.mark.parametrize("icc", [b"rubbish", b"\0" * 200, PROFILES["adobe"][:150]])
def test_unusable_profiles_are_noted(tmp_path: Path, icc: bytes) -> None:
    PILImage.fromarray(ramp(3)).save(tmp_path / "a.jpg", icc_profile=icc, quality=95)
    photo = Photo.open(tmp_path / "a.jpg")
    assert photo.icc_profile_name is None
    assert photo.notes == ("ICC profile cannot be read and was ignored",)
    whole(photo)


def test_profile_of_another_kind_is_noted(tmp_path: Path) -> None:
    PILImage.fromarray(ramp(3)).save(tmp_path / "a.png", icc_profile=profile(gamma(1.8), space=b"GRAY"))
    photo = Photo.open(tmp_path / "a.png")
    assert photo.notes == ("ICC profile 'made for a test' is not meant for rgb pixels and was ignored",)
    np.testing.assert_array_equal(whole(photo), from_uint(ramp(3)))


def test_cmyk_without_a_profile(tmp_path: Path) -> None:
    picture = PILImage.frombytes("CMYK", SIZE, ramp(4).tobytes())
    picture.save(tmp_path / "a.tif")
    photo = Photo.open(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(photo), from_uint(np.asarray(picture.convert("RGB"))))
    assert photo.notes == ("CMYK without a profile converted by the plain formula",)
    PILImage.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(whole(Photo.open(tmp_path / "a.jpg")) - np.float32([1, 0, 0])).max() < 3 / 255


def test_cielab(tmp_path: Path) -> None:
    PILImage.new("LAB", SIZE, (round(54.29 * 2.55), 128 + 81, 128 + 70)).save(tmp_path / "a.tif")  # sRGB red under D50
    photo = Photo.open(tmp_path / "a.tif")
    assert photo.notes == ("CIELAB converted to sRGB",)
    assert np.abs(whole(photo) - np.float32([1, 0, 0])).max() < 0.06
