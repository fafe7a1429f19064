from __future__ import annotations

from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.errors import ImageError, OptionError, OutputError
from chainzoom.images import from_uint, to_uint8, to_uint16
from chainzoom.pictures import encode_png, read_png, read_provenance, write_png
from chainzoom.provenance import Provenance, text_chunks, xmp

Depth = Literal[8, 16]
MADE = Provenance("ab" * 32, 4.0, synthesised=True, prompt="猫 <fur>", seed=1)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(3).random((height, width, channels), dtype=np.float32)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    return np.stack((x, y, (x + y) / 2), axis=-1)


def ffmpeg(path: Path, fmt: str) -> np.ndarray:
    """What FFmpeg decodes, as big-endian 16-bit samples."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == fmt
    plane = frame.planes[0]
    channels = {"rgb48be": 3, "rgba64be": 4}[fmt]
    rows = np.frombuffer(bytes(plane), ">u2").reshape(frame.height, -1)
    return rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (33, 20)])
def test_reads_back_exactly(tmp_path: Path, depth: Depth, with_alpha: bool, size: tuple[int, int]) -> None:
    samples = noise(*size, 4)
    image, alpha = samples[..., :3], samples[..., 3] if with_alpha else None
    write_png(tmp_path / "a.png", image, depth=depth, alpha=alpha)
    back, back_alpha = read_png(tmp_path / "a.png")
    quantise = to_uint8 if depth == 8 else to_uint16
    np.testing.assert_array_equal(back, from_uint(quantise(image)))
    assert back.dtype == np.float32
    if alpha is None:
        assert back_alpha is None
    else:
        assert back_alpha is not None
        np.testing.assert_array_equal(back_alpha, from_uint(quantise(alpha)))


@pytest.mark.parametrize("picture", [noise(40, 51), smooth(40, 51), np.zeros((40, 51, 3), np.float32)], ids=["noise", "smooth", "black"])
def test_pillow_and_ffmpeg_agree(tmp_path: Path, picture: np.ndarray) -> None:
    write_png(tmp_path / "8.png", picture, provenance=MADE)
    write_png(tmp_path / "16.png", picture, depth=16, provenance=MADE)
    write_png(tmp_path / "a16.png", picture, depth=16, alpha=picture[..., 0])
    with PILImage.open(tmp_path / "8.png") as opened:
        assert opened.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(opened), to_uint8(picture))
    np.testing.assert_array_equal(ffmpeg(tmp_path / "16.png", "rgb48be"), to_uint16(picture))
    np.testing.assert_array_equal(ffmpeg(tmp_path / "a16.png", "rgba64be"), to_uint16(np.dstack((picture, picture[..., 0]))))


def test_rounds_and_clips(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.array([[[-1, 0.4999 / 255, 0.5001 / 255], [254.6 / 255, 1, 2]]], np.float32))
    back, _ = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(to_uint8(back), [[[0, 0, 1], [255, 255, 255]]])


def test_same_bytes_twice() -> None:
    assert encode_png(noise(9, 9), provenance=MADE) == encode_png(noise(9, 9), provenance=MADE)


def test_smooth_pictures_shrink() -> None:
    assert len(encode_png(smooth(256, 256), depth=16)) < 256 * 256 * 6 / 4


def test_provenance_is_found_by_us_and_by_pillow(tmp_path: Path) -> None:
    data = write_png(tmp_path / "a.png", noise(16, 16), depth=16, provenance=MADE)
    assert (tmp_path / "a.png").read_bytes() == data
    found = read_provenance(tmp_path / "a.png")
    assert found == text_chunks(MADE) | {"XML:com.adobe.xmp": xmp(MADE)}
    with PILImage.open(tmp_path / "a.png") as opened:
        assert {key: str(value) for key, value in opened.text.items()} == found
        assert opened.info["srgb"] == 0


def test_without_provenance_there_are_no_texts(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(2, 2))
    assert read_provenance(tmp_path / "a.png") == {}


@pytest.mark.parametrize(
    ("image", "kwargs"),
    [
        (np.zeros((4, 4), np.float32), {}),
        (np.zeros((4, 4, 4), np.float32), {}),
        (np.zeros((0, 4, 3), np.float32), {}),
        (np.zeros((4, 4, 3), np.float32), {"depth": 12}),
        (np.zeros((4, 4, 3), np.float32), {"alpha": np.zeros((4, 5), np.float32)}),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path: Path, image: np.ndarray, kwargs: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        write_png(tmp_path / "a.png", image, **kwargs)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"):
        write_png(tmp_path / "none" / "a.png", noise(2, 2))


def test_reading_texts_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(ImageError, match="signature"):
        read_provenance(tmp_path / "a.png")
    with pytest.raises(ImageError, match="No such file"):
        read_provenance(tmp_path / "b.png")
    whole = encode_png(noise(8, 8), provenance=MADE)
    (tmp_path / "c.png").write_bytes(whole[:-20])
    with pytest.raises(ImageError, match="truncated"):
        read_provenance(tmp_path / "c.png")
