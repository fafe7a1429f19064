"""Features of real surfaces and of states, each made once and kept on disk by what they were made from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainzoom.atomic import write_bytes
from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.moments import Features, Moments
from chainzoom.evaluation.surfaces.patches import LEAST_SCALE, SIDE, Look, cut, cut_scaled, look_at
from chainzoom.evaluation.surfaces.textures import Texture
from chainzoom.images import Image

LOOKS: tuple[Look, ...] = ("grey", "colour")
REAL_PATCHES = 8
"""Patches of a real picture; a picture gives at most as many as it has room for, see Looker.real."""
STATE_PATCHES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Features of patches: ``rows`` (n, d), and for every row the picture and the group that it comes from and that picture's materials."""

    rows: Features
    pictures: tuple[str, ...]
    groups: tuple[str, ...]
    materials: tuple[tuple[str, ...], ...]

    def where(self, keep: Callable[[int], bool]) -> Views:
        """Those rows for whose number ``keep`` is true."""
        chosen = [k for k in range(len(self.rows)) if keep(k)]
        pictures, groups = (tuple(values[k] for k in chosen) for values in (self.pictures, self.groups))
        return Views(self.rows[chosen], pictures, groups, tuple(self.materials[k] for k in chosen))

    def of(self, material: str) -> Views:
        """Rows of pictures that show a material."""
        return self.where(lambda k: material in self.materials[k])

    def plain(self, materials: Sequence[str]) -> tuple[Views, list[str]]:
        """Rows of pictures with a single label, out of ``materials``, and the label of each."""
        kept = self.where(lambda k: len(self.materials[k]) == 1 and self.materials[k][0] in materials)
        return kept, [labels[0] for labels in kept.materials]


class Looker:
    """Makes features of patches. ``store`` is a folder where they are kept, or None."""

    def __init__(self, network: Moments, store: Path | None = None, seed: int = 0) -> None:
        self._network, self._store, self._seed = network, store, seed

    def real(self, textures: Iterable[Texture], look: Look = "grey", patches: int = REAL_PATCHES) -> Views:
        """Real pictures at random scales."""
        listed = list(textures)
        if not listed:
            raise OptionError("no real pictures to compare with: the prepared folder has none of that split and material")

        def one(texture: Texture) -> Features:
            def make() -> list[Image]:
                return cut_scaled(texture.read(), patches, self._seed, texture.sha256)

            return self._kept(["real", texture.sha256, patches, LEAST_SCALE], look, make)

        return _views([(one(t), t.sha256, t.group, t.materials) for t in listed])

    def states(
        self,
        images: Sequence[Image],
        names: Sequence[str],
        materials: Sequence[str],
        look: Look = "grey",
        patches: int = STATE_PATCHES,
        keys: Sequence[str] | None = None,
    ) -> Views:
        """Produced states at their own pixels.

        ``names`` say what is one input (a group); ``keys`` are hashes of the pixels, for the store.
        """
        entries = []
        for k, (image, name, material) in enumerate(zip(images, names, materials, strict=True)):

            def make(image: Image = image, name: str = name) -> list[Image]:
                return cut(image, patches, self._seed, name)

            key = keys[k] if keys is not None else hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
            entries.append((self._kept(["state", key, name, patches], look, make), name, name, (material,)))
        return _views(entries)

    def _kept(self, what: list[object], look: Look, make: Callable[[], list[Image]]) -> Features:
        """From the store, or made and stored."""
        parts = json.dumps([*what, look, SIDE, self._seed, self._network.version])
        path = self._store / f"{hashlib.sha256(parts.encode()).hexdigest()[:24]}.npy" if self._store else None
        if path is not None and path.is_file():
            try:
                return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
            except (OSError, ValueError):
                pass
        found = self._network.features([look_at(patch, look) for patch in make()])
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = io.BytesIO()
            np.save(file, found)
            write_bytes(path, file.getvalue())
        return found


def _views(entries: Sequence[tuple[Features, str, str, tuple[str, ...]]]) -> Views:
    counts = [len(rows) for rows, _, _, _ in entries]
    columns = [tuple(entry[k] for entry, count in zip(entries, counts, strict=True) for _ in range(count)) for k in (1, 2, 3)]
    return Views(np.concatenate([rows for rows, _, _, _ in entries]), *columns)  # type: ignore[arg-type]
