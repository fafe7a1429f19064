"""What is zoomed into: photos, held-out surfaces, and pictures blurred until nothing but words can say what they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chainzoom.errors import OptionError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.surfaces.textures import Texture, plain
from chainzoom.images import Image, clip, resize
from chainzoom.pictures import write_png
from chainzoom.seeds import derive

MATERIALS = "materials.json"
BLURRED = 16
"""A blurred input is a picture shrunk to so many pixels a side: its middle quarter, which the first step enlarges, holds 4 x 4 of them."""


def named_materials(folder: Path, items: Sequence[Item], known: Sequence[str]) -> tuple[Item, ...]:
    """The items with the materials that FOLDER/materials.json gives them, ``{"picture": "material"}``; the others stay as they are.

    Raises OptionError for a file that is no such table, names no item or an unknown material.
    """
    path = folder / MATERIALS
    if not path.is_file():
        return tuple(items)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        given = {str(name): str(material) for name, material in table.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise OptionError(f'{path} must hold {{"picture": "material", ...}}: {error}') from None
    for name, material in given.items():
        if name not in {item.name for item in items} or material not in known:
            raise OptionError(f"{path}: '{name}': '{material}' names no picture of the folder or none of the materials {', '.join(known)}")
    return tuple(replace(item, material=given.get(item.name, "")) for item in items)


def surface_items(textures: Sequence[Texture], materials: Sequence[str], count: int, least: int) -> tuple[Item, ...]:
    """Held-out surfaces to zoom into, ``count`` in all, the materials in turn, each of another group; at least ``least`` pixels a side."""
    able = [one for one in plain(textures, "test", materials) if min(one.width, one.height) >= least]
    able.sort(key=lambda one: one.sha256)
    queues = {name: _one_a_group([one for one in able if one.materials[0] == name]) for name in materials}
    chosen: list[Item] = []
    for turn in range(max((len(queue) for queue in queues.values()), default=0)):
        for name, queue in queues.items():
            if turn < len(queue) and len(chosen) < count:
                slug = name.replace(" ", "_")
                chosen.append(Item(f"{slug}-{queue[turn].sha256[:8]}", queue[turn].path, None, name))
    return tuple(chosen)


def blurred_items(textures: Sequence[Texture], folder: Path, count: int, size: int, seed: int) -> tuple[Item, ...]:
    """Write ``count`` blurred squares (size, size) of held-out pictures of any kind into ``folder``; items without a material.

    Raises OptionError when there are too few pictures, OutputError.
    """
    held = _one_a_group(sorted((one for one in textures if one.split == "test"), key=lambda one: derive(seed, "blurred", one.sha256)))
    if len(held) < count:
        raise OptionError(f"{count} blurred inputs need pictures of as many held-out groups; the prepared folder has {len(held)}")
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for one in held[:count]:
        path = folder / f"{one.sha256[:12]}-{size}-{seed}.png"
        if not path.is_file():
            write_png(path, blurred(one.read(), size, seed, one.sha256))
        items.append(Item(one.sha256[:12], path))
    return tuple(items)


def blurred(image: Image, size: int, seed: int, name: str) -> Image:
    """A random square of a picture, shrunk to BLURRED pixels a side and enlarged to ``size`` with a bicubic kernel."""
    side = min(image.shape[:2])
    random = np.random.default_rng(derive(seed, "square", name))
    span = side * random.uniform(0.5, 1)
    y, x = (random.uniform(0, length - span) for length in image.shape[:2])
    small = clip(resize(image, (BLURRED, BLURRED), "box", (x, y, x + span, y + span)))
    return clip(resize(small, (size, size), "bicubic"))


def _one_a_group(textures: Sequence[Texture]) -> list[Texture]:
    found: dict[str, Texture] = {}
    for one in textures:
        found.setdefault(one.group, one)
    return list(found.values())
