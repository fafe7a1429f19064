"""Small generators and shelves in the published formats."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from safetensors.numpy import save_file

from chainzoom.backbones.exemplars import SIDE, Exemplars

SHAPE = {"widths": [6, 5, 4], "blocks": [2, 1, 1], "noise": [2, 1, 1], "words": 384, "code": 8}


def weights(path: Path) -> Path:
    """A generator of random numbers in the published layout."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {"centre": rng.normal(size=384) * 0.01}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        if bias:
            tensors[f"{name}.bias"] = rng.normal(size=shape[0]) * 0.1

    add("words.0", 8, 385)
    add("words.2", 8, 8)
    widths, planes = SHAPE["widths"], [16 + 2, 4 + 1, 1 + 1]
    add("enter", widths[0], 3 + planes[0], 3, 3)
    for level, (width, count) in enumerate(zip(widths, SHAPE["blocks"], strict=True)):
        if level:
            add(f"grow.{level - 1}", width, widths[level - 1], 3, 3)
        for number in range(count):
            name = f"stages.{level}.{number}"
            add(f"{name}.first", width, width, 3, 3)
            add(f"{name}.second", width, width, 3, 3)
            add(f"{name}.film", 2 * width, 8)
            add(f"{name}.noise", width, planes[level], 1, 1, bias=False)
    add("leave", 3, widths[-1], 3, 3)
    add("borrow", 3, 8)
    save_file({name: value.astype(np.float16) for name, value in tensors.items()}, path, metadata={"shape": json.dumps(SHAPE)})
    return path


def shelf(path: Path) -> Path:
    """Two surfaces that continue on their other side: horizontal grain, repeated as it is, and vertical grain, mixed."""
    rng = np.random.default_rng(1)
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2):
            grain = np.repeat(rng.normal(size=(SIDE, SIDE // 4)), 4, axis=1)
            pixels = np.clip(128 + 30 * (grain if number else grain.T), 0, 255).astype(np.uint8)
            content = io.BytesIO()
            PILImage.fromarray(pixels).save(content, "PNG")
            archive.writestr(f"{number}.png", content.getvalue())
            words = np.zeros(384)
            words[number] = 1
            row = {"file": f"{number}.png", "unit": 0.5, "name": f"n{number}", "materials": [("wood", "stone wall")[number]]}
            rows.append(row | {"words": words.tolist(), "ordered": number == 0})
        archive.writestr("index.json", json.dumps(rows))
    return path


def several(path: Path, rows: dict[str, tuple[str, ...]], chances: dict[str, float] | None = None) -> Exemplars:
    """Surfaces of these names and materials; no words tell them apart."""
    common = {"file": "x.png", "unit": 0.5, "words": [1.0] * 384, "ordered": False}
    given = {name: common | {"chance": chance} for name, chance in (chances or {}).items()}
    content = io.BytesIO()
    PILImage.new("L", (SIDE, SIDE), 128).save(content, "PNG")
    index = [given.get(name, common) | {"name": name, "materials": list(materials)} for name, materials in rows.items()]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.png", content.getvalue())
        archive.writestr("index.json", json.dumps(index))
    return Exemplars.read(path)
