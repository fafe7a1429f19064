"""From a file of a package to the picture that is trained on: 8-bit RGB at native sharpness, as a PNG."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from chainzoom.atomic import atomic_path
from chainzoom.training.pocket.data.sources import DataError, Picture

_LEVEL = 1
"""Of PNG's compression: textures shrink hardly further at higher levels, which take many times as long."""
_STAMP = "Origin"


def render(data: bytes, picture: Picture) -> Image.Image:
    """The picture as RGB: upright, without alpha (there textures keep other maps), cropped, halved where it had been enlarged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the packages are pinned: their sizes and oddities are known
            with Image.open(io.BytesIO(data)) as opened:
                rgb = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, struct.error) as error:
        raise DataError(f"{picture.origin} cannot be read as a picture ({error})") from error
    left, top, right, bottom = picture.crop
    rgb = rgb.crop((round(left * rgb.width), round(top * rgb.height), round(right * rgb.width), round(bottom * rgb.height)))
    for _ in range(picture.halvings):
        rgb = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.BOX)
    return rgb


def stamp_of(source: str, picture: Picture) -> str:
    """What makes the file's pixels: kept inside the PNG, so that a later run knows whether it is still the same picture."""
    return f"{source}: {picture.origin} crop {picture.crop} halvings {picture.halvings}"


def write_png(image: Image.Image, stamp: str, path: Path) -> None:
    """Write ``image`` in one indivisible move. Raises OutputError."""
    info = PngImagePlugin.PngInfo()
    info.add_text(_STAMP, stamp)
    with atomic_path(path) as part:
        image.save(part, "PNG", pnginfo=info, compress_level=_LEVEL)


def size_when(path: Path, stamp: str) -> tuple[int, int] | None:
    """(width, height) of the PNG at ``path`` if it carries ``stamp``; None when it must be written."""
    try:
        with Image.open(path) as image:
            return image.size if image.info.get(_STAMP) == stamp else None
    except (OSError, SyntaxError, ValueError):
        return None
