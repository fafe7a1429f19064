from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageOps

from chainzoom import photos
from chainzoom.errors import ImageError, MissingExtraError, OptionError
from chainzoom.images import Kernel, clip, from_uint, resize
from chainzoom.photos import Photo
from chainzoom.pictures import encode_png
from chainzoom.png_chunks import chunk

W, H = 50, 34


def ints(channels: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    dtype = np.uint8 if depth == 8 else np.uint16
    shape = (H, W) if channels == 1 else (H, W, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def whole(photo: Photo) -> np.ndarray:
    return photo.read((0, 0, photo.width, photo.height), (photo.width, photo.height))


def whole_alpha(photo: Photo) -> np.ndarray:
    alpha = photo.read_alpha((0, 0, photo.width, photo.height), (photo.width, photo.height))
    assert alpha is not None
    return alpha


def grey3(array: np.ndarray) -> np.ndarray:
    return np.repeat(from_uint(array)[..., None], 3, axis=-1)


def ffmpeg_write(path: Path, array: np.ndarray, fmt: str, codec: str, **options: str) -> Path:
    """A 16-bit file from an encoder that is not ours."""
    frame = av.VideoFrame(W, H, fmt)
    rows = array.astype(">u2" if fmt.endswith("be") else "<u2").reshape(H, -1).view(np.uint8)
    plane = frame.planes[0]
    padded = np.zeros((H, plane.line_size), np.uint8)
    padded[:, : rows.shape[1]] = rows
    plane.update(padded.tobytes())
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.options = W, H, fmt, options  # type: ignore[attr-defined]
    path.write_bytes(b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)]))  # type: ignore[attr-defined]
    return path


def png(colour: int, depth: int, raw: bytes, *extra: bytes, size: tuple[int, int] = (W, H)) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def unfiltered(array: np.ndarray) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">")).reshape(len(array), -1).view(np.uint8)
    return np.pad(big, ((0, 0), (1, 0))).tobytes()


# What is read


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp"])
def test_lossless_formats_are_exact(tmp_path: Path, name: str) -> None:
    array = ints(3)
    PILImage.fromarray(array).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    photo = Photo.open(tmp_path / name)
    np.testing.assert_array_equal(whole(photo), from_uint(array))
    assert (photo.width, photo.height, photo.bits, photo.has_alpha, photo.icc_profile_name, photo.notes) == (W, H, 8, False, None, ())
    assert photo.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert photo.read_alpha((0, 0, W, H), (W, H)) is None


@pytest.mark.parametrize(("name", "level"), [("a.jpg", 3), ("a.avif", 5)])
def test_lossy_formats_are_near(tmp_path: Path, name: str, level: int) -> None:
    flat = np.full((H, W, 3), (200, 120, 40), np.uint8)
    PILImage.fromarray(flat).save(tmp_path / name, quality=95)
    assert np.abs(whole(Photo.open(tmp_path / name)) - from_uint(flat)).max() <= level / 255


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "PA"])
def test_pillow_modes(tmp_path: Path, mode: str) -> None:
    picture = PILImage.fromarray(ints(4)).convert("RGB" if mode == "P" else "RGBA").convert(mode)
    picture.save(tmp_path / "a.png" if mode != "PA" else tmp_path / "a.tif")
    photo = Photo.open(tmp_path / ("a.png" if mode != "PA" else "a.tif"))
    rgba = np.asarray(picture.convert("RGBA"))
    np.testing.assert_array_equal(whole(photo), from_uint(rgba[..., :3]))
    assert photo.has_alpha == (mode in ("LA", "RGBA", "PA"))
    if photo.has_alpha:
        np.testing.assert_array_equal(whole_alpha(photo), from_uint(rgba[..., 3]))


@pytest.mark.parametrize("transparency", [3, bytes([0, 128, 255, 7])])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    indices = (ints(1) % 4).astype(np.uint8)
    picture = PILImage.fromarray(indices).convert("P")
    picture.putdata(indices.ravel().tolist())
    colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]
    picture.putpalette(colours)
    picture.save(tmp_path / "a.png", transparency=transparency)
    photo = Photo.open(tmp_path / "a.png")
    np.testing.assert_array_equal(whole(photo), from_uint(np.array(colours, np.uint8).reshape(4, 3))[indices])
    opacity = np.array([255, 255, 255, 0] if isinstance(transparency, int) else list(transparency), np.uint8)
    np.testing.assert_array_equal(whole_alpha(photo), from_uint(opacity)[indices])


def test_transparent_colour(tmp_path: Path) -> None:
    array = ints(3) // 128 * 255
    PILImage.fromarray(array).save(tmp_path / "a.png", transparency=(255, 0, 255))
    photo = Photo.open(tmp_path / "a.png")
    np.testing.assert_array_equal(whole(photo), from_uint(array))
    np.testing.assert_array_equal(whole_alpha(photo), 1 - np.all(array == (255, 0, 255), axis=-1))


@pytest.mark.parametrize(("channels", "fmt"), [(1, "gray16be"), (2, "ya16be"), (3, "rgb48be"), (4, "rgba64be")])
def test_deep_png_is_exact(tmp_path: Path, channels: int, fmt: str) -> None:
    array = ints(channels, 16)
    photo = Photo.open(ffmpeg_write(tmp_path / "a.png", array, fmt, "png", pred="mixed"))
    samples = array[..., None] if channels == 1 else array
    colour = samples if channels in (1, 3) else samples[..., :-1]
    np.testing.assert_array_equal(whole(photo), np.broadcast_to(from_uint(colour), (H, W, 3)))
    assert photo.bits == 16
    assert photo.has_alpha == (channels in (2, 4))
    if photo.has_alpha:
        np.testing.assert_array_equal(whole_alpha(photo), from_uint(samples[..., -1]))


@pytest.mark.parametrize("compression", ["raw", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize(("channels", "fmt"), [(1, "gray16le"), (3, "rgb48le"), (4, "rgba64le")])
def test_deep_tiff_is_exact(tmp_path: Path, channels: int, fmt: str, compression: str) -> None:
    array = ints(channels, 16)
    photo = Photo.open(ffmpeg_write(tmp_path / "a.tif", array, fmt, "tiff", compression_algo=compression))
    np.testing.assert_array_equal(whole(photo), grey3(array) if channels == 1 else from_uint(array[..., :3]))
    assert photo.bits == 16
    if channels == 4:
        np.testing.assert_array_equal(whole_alpha(photo), from_uint(array[..., 3]))


def tiff(array: np.ndarray, order: str, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A plain one-strip TIFF with chosen byte order and tags (all SHORT)."""
    pixels = array.astype(array.dtype.newbyteorder(order)).tobytes()
    channels = 1 if array.ndim == 2 else array.shape[2]
    bits = array.dtype.itemsize * 8
    base = {256: (array.shape[1],), 257: (array.shape[0],), 258: (bits,) * channels, 259: (1,), 262: (2 if channels > 1 else 1,)}
    base |= {273: (8,), 277: (channels,), 278: (array.shape[0],), 279: (len(pixels),)}
    entries, overflow = b"", b""
    everything = sorted((base | tags).items())
    start = 8 + len(pixels)
    after = start + 2 + 12 * len(everything) + 4
    for tag, values in everything:
        data = struct.pack(f"{order}{len(values)}H", *values)
        entries += struct.pack(f"{order}HHI", tag, 3, len(values))
        entries += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", after + len(overflow))
        overflow += data if len(data) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + pixels + struct.pack(f"{order}H", len(everything)) + entries + b"\0\0\0\0" + overflow


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_tiff_of_both_byte_orders(tmp_path: Path, order: str, channels: int) -> None:
    array = ints(channels, 16)
    (tmp_path / "a.tif").write_bytes(tiff(array, order, {338: (2,)} if channels == 4 else {}))
    expected = grey3(array) if channels == 1 else from_uint(array[..., :3])
    np.testing.assert_array_equal(whole(Photo.open(tmp_path / "a.tif")), expected)


def test_tiff_where_zero_is_white(tmp_path: Path) -> None:
    array = ints(1, 16)
    (tmp_path / "a.tif").write_bytes(tiff(array, "<", {262: (0,)}))
    np.testing.assert_array_equal(whole(Photo.open(tmp_path / "a.tif")), 1 - grey3(array))


def test_premultiplied_deep_tiff(tmp_path: Path) -> None:
    array = ints(4, 16)
    array[..., :3] = array[..., :3] * (array[..., 3:] / 65535)
    (tmp_path / "a.tif").write_bytes(tiff(array, "<", {338: (1,)}))
    photo = Photo.open(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole_alpha(photo), from_uint(array[..., 3]))
    straight = np.clip(array[..., :3] / np.maximum(array[..., 3:], 1).astype(np.float64), 0, 1)
    np.testing.assert_allclose(whole(photo), straight, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_of_16_bits(tmp_path: Path, channels: int) -> None:
    array = ints(channels, 16) // 32768 * 300
    key = (300,) if channels == 1 else (300, 0, 300)
    trns = chunk(b"tRNS", struct.pack(f">{channels}H", *key))
    (tmp_path / "a.png").write_bytes(png(0 if channels == 1 else 2, 16, unfiltered(array), trns))
    photo = Photo.open(tmp_path / "a.png")
    hidden = array == 300 if channels == 1 else np.all(array == key, axis=-1)
    np.testing.assert_array_equal(whole_alpha(photo), ~hidden)
    np.testing.assert_array_equal(whole(photo), grey3(array) if channels == 1 else from_uint(array))


def test_stereo_jpegs_of_phones_give_their_first_picture(tmp_path: Path) -> None:
    views = [PILImage.new("RGB", (W, H), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:], quality=95)
    photo = Photo.open(tmp_path / "a.jpg")
    assert np.abs(whole(photo) - np.float32([1, 0, 0])).max() < 3 / 255
    assert photo.notes == ()


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    frames = [PILImage.new("RGB", (W, H), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if name == "a.webp" else {}))
        photo = Photo.open(tmp_path / name)
        np.testing.assert_array_equal(whole(photo), np.broadcast_to(np.float32([1, 0, 0]), (H, W, 3)))
        assert photo.notes == ("several frames or pages: the first is used",)


# Orientation


@pytest.mark.parametrize("name", ["a.png", "a.tif", "deep.png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_BAND_PIXELS", 7 * W)
    array = ints(3, 16 if name == "deep.png" else 8)
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    if name == "deep.png":
        extra = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        (tmp_path / name).write_bytes(png(2, 16, unfiltered(array), extra))
    else:
        PILImage.fromarray(array).save(tmp_path / name, exif=exif)
    marks = PILImage.fromarray(np.arange(W * H, dtype=np.int32).reshape(H, W))
    marks.getexif()[0x0112] = orientation
    order = np.asarray(ImageOps.exif_transpose(marks))
    upright = from_uint(array).reshape(-1, 3)[order]
    photo = Photo.open(tmp_path / name)
    assert (photo.height, photo.width) == upright.shape[:2]
    np.testing.assert_array_equal(whole(photo), upright)
    np.testing.assert_array_equal(photo.read((3, 5, 20, 33), (17, 28)), upright[5:33, 3:20])
    assert photo.notes == ((f"EXIF orientation {orientation} applied",) if orientation > 1 else ())


def test_broken_exif_is_no_obstacle(tmp_path: Path) -> None:
    PILImage.fromarray(ints(3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert Photo.open(tmp_path / "a.jpg").width == W


# Regions and kernels


@pytest.mark.parametrize("kernel", ["nearest", "box", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(13, 7), (50, 34), (120, 40), (5, 90), (1, 1)])
def test_bands_change_nothing(tmp_path: Path, kernel: Kernel, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    PILImage.fromarray(ints(3)).save(tmp_path / "a.png")
    photo = Photo.open(tmp_path / "a.png")
    for region in ((0, 0, W, H), (2.25, 3.5, 40.75, 30.125)):
        expected = photo.read(region, size, kernel)
        monkeypatch.setattr(photos, "_BAND_PIXELS", 1)
        np.testing.assert_array_equal(photo.read(region, size, kernel), expected)
        monkeypatch.undo()


@pytest.mark.parametrize("kernel", ["nearest", "box", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(13, 7), (64, 64)])
def test_equals_resampling_the_whole_in_float(tmp_path: Path, kernel: Kernel, size: tuple[int, int]) -> None:
    array = ints(3)
    PILImage.fromarray(array).save(tmp_path / "a.png")
    photo = Photo.open(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.read((0, 0, W, H), size, kernel), clip(resize(from_uint(array), size, kernel)))
    region = (10.25, 8.5, 30.75, 21.125)
    np.testing.assert_allclose(photo.read(region, size, kernel), clip(resize(from_uint(array), size, kernel, region)), atol=2e-6)


def test_the_whole_is_never_held_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PILImage.new("RGB", (1500, 1000)).save(tmp_path / "a.png")
    photo = Photo.open(tmp_path / "a.png")
    monkeypatch.setattr(photos, "_BAND_PIXELS", 1 << 15)
    tracemalloc.start()
    try:
        photo.read((0, 0, 1500, 1000), (64, 43))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1500 * 1000 * 3 * 4 / 5


def test_the_kernel_sees_past_the_region(tmp_path: Path) -> None:
    array = np.zeros((H, W, 3), np.uint8)
    array[:, 20:] = 255
    PILImage.fromarray(array).save(tmp_path / "a.png")
    photo = Photo.open(tmp_path / "a.png")
    assert photo.read((10, 10, 20, 20), (5, 5), "bicubic")[:, -1].max() > 0.01
    assert photo.read((10, 10, 20, 20), (5, 5), "box").max() == 0


def test_alpha_by_lanczos(tmp_path: Path) -> None:
    array = ints(4)
    PILImage.fromarray(array).save(tmp_path / "a.png")
    alpha = Photo.open(tmp_path / "a.png").read_alpha((0, 0, W, H), (20, 15))
    assert alpha is not None
    np.testing.assert_array_equal(alpha, clip(resize(from_uint(array[..., 3]), (20, 15), "lanczos")))


def test_limits_of_regions(tmp_path: Path) -> None:
    PILImage.fromarray(ints(3)).save(tmp_path / "a.png")
    photo = Photo.open(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.read((-1e-7, 0, W + 1e-7, H), (W, H)), whole(photo))
    assert photo.read((0.1, 0.1, 0.3, 0.3), (8, 8)).shape == (8, 8, 3)
    nan = float("nan")
    for region in ((-0.1, 0, 5, 5), (0, 0, W + 0.1, 5), (5, 5, 5, 9), (9, 5, 5, 9), (nan, 0, 5, 5), (0, 0, 5, float("inf"))):
        with pytest.raises(OptionError, match="region must be"):
            photo.read(region, (4, 4))
    for size in ((0, 4), (4, -1), (2.5, 4)):
        with pytest.raises(OptionError, match="size must be"):
            photo.read((0, 0, 5, 5), size)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="kernel must be"):
        photo.read((0, 0, 5, 5), (5, 5), "cubic")  # type: ignore[arg-type]


# Bad input


def whole_jpeg() -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(ints(3)).resize((300, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def progressive_jpeg() -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(ints(3)).resize((300, 200)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def bad_checksum() -> bytes:
    data = bytearray(encode_png(from_uint(ints(3))))
    data[-17] ^= 1  # the last byte of the pixels' checksum is 13 bytes before the end
    return bytes(data)


def saved(format_: str) -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(ints(3)).save(buffer, format_)
    return buffer.getvalue()


def float_tiff() -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(np.zeros((H, W), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("text.jpg", lambda: b"just some words\n" * 9, "no picture that can be read: expected JPEG, .* got what looks like text"),
        ("zeros.png", lambda: b"\0" * 500, "no picture .* starts with 00 00"),
        ("empty.jpg", lambda: b"", "is empty: .* got 0 bytes"),
        ("cut.jpg", lambda: whole_jpeg()[:-900], "damaged: .*truncated"),
        ("cut2.jpg", lambda: whole_jpeg()[:200], "a.* is (damaged|no picture)"),
        ("cutp.jpg", lambda: progressive_jpeg()[:-900], "damaged: .*truncated"),
        ("cut.png", lambda: saved("PNG")[:-900], "damaged: .*truncated"),
        ("cut1.png", lambda: saved("PNG")[:-1], "damaged: .*truncated"),
        ("checksum.png", bad_checksum, "damaged: .*checksum"),
        ("cut.bmp", lambda: saved("BMP")[:-900], "damaged: .*truncated"),
        ("cut.tif", lambda: saved("TIFF")[:3000], "damaged"),
        ("cut.gif", lambda: saved("GIF")[:-900], "damaged: .*truncated"),
        ("cut.webp", lambda: saved("WEBP")[:-300], "damaged|no picture"),
        ("cut.avif", lambda: saved("AVIF")[:-300], "got a damaged or unsupported AVIF file"),
        ("large.png", lambda: png(2, 8, b"\0", size=(30000, 30000)), "has 30000 x 30000 pixels: expected at most 500000000"),
        ("bomb.png", lambda: png(2, 8, b"\0", size=(60000, 60000)), "far too many pixels: expected at most 500000000"),
        ("claims.png", lambda: b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"IHDR"), "damaged: .*truncated"),
        ("one.png", lambda: encode_png(np.zeros((1, 1, 3), np.float32)), "has 1 x 1 pixels: expected at least 16 on each side"),
        ("thin.png", lambda: encode_png(np.zeros((15, 99, 3), np.float32)), "has 99 x 15 pixels"),
        ("float.tif", float_tiff, "signed, float or 32-bit samples"),
        ("planes.tif", lambda: tiff(ints(3, 16), "<", {284: (2,)}), "separate colour planes|damaged"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, data: Callable[[], bytes], message: str) -> None:
    (tmp_path / name).write_bytes(data())
    with pytest.raises(ImageError, match=message) as caught:
        Photo.open(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        Photo.open(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        Photo.open(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="pipe, socket or device"):
        Photo.open(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="pipe, socket or device"):
        Photo.open("/dev/null")
    with pytest.raises(ImageError, match="cannot be opened"):
        Photo.open("a\0b")
    with pytest.raises(ImageError, match="cannot be opened"):
        Photo.open("n" * 5000)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(whole_jpeg())
    (tmp_path / "a.jpg").chmod(0)
    if os.geteuid() == 0:  # root reads everything; let the system refuse

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot be opened: .*Permission denied"):
        Photo.open(tmp_path / "a.jpg")


def test_limits_are_ours_and_pillows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PILImage.fromarray(ints(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", W * H // 4)
    monkeypatch.setattr(photos, "_BAND_PIXELS", W)  # a crop is far below Pillow's limit, as with real photos
    whole(Photo.open(tmp_path / "a.png", max_pixels=W * H))
    assert PILImage.MAX_IMAGE_PIXELS == W * H // 4
    with pytest.raises(ImageError, match=f"expected at most {W * H - 1}"):
        Photo.open(tmp_path / "a.png", max_pixels=W * H - 1)
    assert PILImage.MAX_IMAGE_PIXELS == W * H // 4


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "GIF"])
def test_mutilated_files_end_in_image_errors(tmp_path: Path, format_: str) -> None:
    rng, data = np.random.default_rng(5), saved(format_)
    for _ in range(60):
        mutilated = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 4):
            mutilated[place] = rng.integers(256)
        (tmp_path / "a").write_bytes(mutilated[: rng.integers(20, len(data) * 2)])
        try:
            whole(Photo.open(tmp_path / "a", max_pixels=1_000_000))
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_heic_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
    with pytest.raises(MissingExtraError, match=r"pip install 'chainzoom\[heic\]'"):
        Photo.open(tmp_path / "a.jpg")


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    flat = np.full((64, 80, 3), (200, 120, 40), np.uint8)
    heif.from_pillow(PILImage.fromarray(flat)).save(tmp_path / "a.heic", quality=90)
    photo = Photo.open(tmp_path / "a.heic")
    assert (photo.width, photo.height) == (80, 64)
    assert np.abs(whole(photo) - from_uint(flat)).max() < 4 / 255
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:-40])
    with pytest.raises(ImageError):
        Photo.open(tmp_path / "cut.heic")
