"""Surfaces to borrow detail from: a shelf of small real textures, found by words, and an endless field grown from one of them.

What is laid in courses (bricks, planks, tiles) keeps its order (``courses.py``). The rest is by-example noise: patches from random places
of the exemplar (``lattice.py``). Any part of the field can be made alone, by coordinates.

A zoom meets one surface at several scales. The field is a thing of the world, not of a step: it is shrunk at first, and each step that
enlarges 4x shows the same places 4x larger, until the exemplar's own pixels are reached and a new one begins inside (``Sight``).
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.backbones.courses import Courses
from chainzoom.backbones.lattice import Numbers, around, drawn, mixed
from chainzoom.backbones.pocket_network import shading
from chainzoom.errors import WeightsError
from chainzoom.seeds import derive
from chainzoom.sentences.plain import names_a_surface, surface_words

INDEX = "index.json"
SIDE = 512
"""Height and width of an exemplar in pixels."""
_LATTICE = 128
"""Distance of the lattice's points in the exemplar's own pixels; a patch reaches twice as far."""
_OCTAVES = 6
"""A surface is met first where it is shrunk 32-fold, five octaves before its own pixels; then a new one begins inside it."""
_FIRST = 3
"""The octave of the zoom at which a surface is met first: 16x shows it shrunk 16-fold, 64x shrunk 4-fold, 256x as it is."""
_PLACE = 16
"""Random places are multiples of it, so that they are whole pixels when the field is shrunk up to 16-fold."""
_GRAIN = 0.1
"""Strength of the grain that lies over a shrunken surface."""
_KEPT, _KEPT_PLANES = 8, 2
_SMALL = 4
_RISE = 0.25
"""How much fainter a surface is while it is shrunk more than so often and nothing of it can be recognised: 0.7 of it at 16-fold."""
_QUIETER = 0.28
"""How much fainter a quiet surface is while it is shrunk at all: 0.46 of it at 16-fold."""
_STRONGEST = 0.13
"""Contrast above which a surface is lent more weakly than it was photographed, as a share of the full range."""
_ROUGH, _RISING = 1.6, 0.16
"""Contrast of the two octaves that a surface adds, for the roughness of the picture that it is lent to, where it would have less by
itself; and how much more the more it is shrunk, so that it wins over what the picture shows while there is room for it.
"""
_LIFT, _FULL = 3.2, 0.06
"""How much stronger it gets in rough places at most; less for one of less contrast than ``_FULL``: smooth sand is smooth everywhere."""
_LOUD, _LEAST_LOUD = 0.12, 0.75
"""Contrast of those octaves from which a surface is lent no more strongly, and how far one that is louder by itself is weakened."""
_USUAL, _BACK, _STRONGER = 0.08, 0.35, 1.25
_USUAL_SMALL, _BACK_SMALL, _STRONGER_SMALL = 0.065, 0.5, 1.0
"""Contrast of those octaves that surfaces usually have, and less while one is shrunk, since what its steps add stays. What is lent goes a
part of the way back to it (in logarithm), and a faint one gets so many times stronger at most: the roughness of a few pixels is a poor
guess of what lies below them, and what is loud would else stay loud at every scale.
"""
_MILDER, _MILDER_SMALL = 0.85, 0.04
"""What is left of it in the end: that times the shrinking to this power, so that no step is louder than the one before it."""
_ROOM, _DARK, _LEAST = 0.5, 0.008, 0.3
"""The same for the room that a place has towards black or white, whichever is nearer: beyond it there is only clipping."""
_ADDED = 4
"""A step enlarges so many times: what is coarser is the input's already."""
_OTHERS = 0.15
"""What it costs a surface that it is something else first."""
_NEAR = 0.6
"""Likeness of words below which a surface is another one."""
QUIET = "quiet"
"""What is borrowed from where words name no surface."""
_DRAWN = "drawn"
"""What the source of a surface begins with that is no photograph (``training.pocket.fur``, ``quiet``)."""
_CHOICE = 0.06
"""Merit by which a surface must be better than another for the seed to take it e times as often."""
_WITHIN = {"brick": "concrete", "paving": "rock", "stone wall": "rock", "roof tiles": "concrete", "wicker": "wood"}
"""What a surface is made of, where that is another one: met inside it from 1024x on."""
_LIKE = {
    **dict.fromkeys(("petals", "petal", "leather"), "skin"),
    **dict.fromkeys(("feathers", "feather"), "fur"),
    **dict.fromkeys(("cobblestones", "cobblestone"), "paving"),
    "moss": "grass",
    "lava": "rock",
    "carpet": "cloth",
}
"""Surfaces that the shelf has none of by name, and what it has that looks like them, whose own words are not near."""
_CANDIDATES, _TEMPERATURE = 6, 0.1

Array = NDArray[np.float32]


class Exemplars:
    """names (n), captions (n), materials (n), words (n, 384) of unit length; ordered (n): whether a texture is repeated as it is.

    A row's ``chance`` (1 where it has none) says how often it is taken beside others of its material whose words are as near.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], pictures: Sequence[bytes]) -> None:
        """``rows`` of the index and their encoded pictures; raises KeyError, ValueError."""
        self.names: tuple[str, ...] = tuple(row["name"] for row in rows)
        self.captions: tuple[str, ...] = tuple(str(row.get("caption", row["name"])) for row in rows)
        self.materials: tuple[tuple[str, ...], ...] = tuple(tuple(row["materials"]) for row in rows)
        self.ordered: tuple[bool, ...] = tuple(bool(row["ordered"]) for row in rows)
        # A quiet street is no quiet surface: that one is never named, only fallen back on.
        known = sorted({label for labels in self.materials for label in labels} - {QUIET})
        self._known = dict(zip(known, known, strict=True)) | {
            word: like for word, like in _LIKE.items() if like in known and word not in known
        }
        words = np.array([row["words"] for row in rows], np.float32)
        self.words: Array = words / np.linalg.norm(words, axis=1, keepdims=True)
        self._chances: Array = np.array([row.get("chance", 1.0) for row in rows], np.float32)
        if not (self._chances > 0).all():
            raise ValueError("an exemplar's chance must be above 0")
        self._drawn = tuple(str(row.get("source", "")).startswith(_DRAWN) for row in rows)
        self._units, self._pictures = tuple(float(row["unit"]) for row in rows), tuple(pictures)
        self._read: dict[int, NDArray[np.int8]] = {}
        self._kept: dict[tuple[int, int, int], Array] = {}
        self._planes: dict[tuple[int, int], Courses] = {}
        self._contrasts: dict[tuple[int, int], tuple[float, float]] = {}

    @classmethod
    def read(cls, path: Path) -> Exemplars:
        """Raises WeightsError for a missing or broken file."""
        try:
            with zipfile.ZipFile(path) as archive:
                rows = json.loads(archive.read(INDEX))
                found = cls(rows, [archive.read(row["file"]) for row in rows])
            found.texture(0)
            return found
        except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{path} is no shelf of exemplars ({error!r}); reinstall chainzoom or make it anew") from None

    def texture(self, number: int) -> Array:
        """(512, 512) of an exemplar: lightness without its slow part, 1 = full range; it continues on its other side."""
        if number not in self._read:
            self._read[number] = _decoded(self._pictures[number])
        return self._read[number] * np.float32(self._units[number] / 127)

    def recalls(self, words: str, embedding: Array) -> bool:
        """Whether ``words``, of this (384,) embedding, name none of its materials and are near an exemplar's all the same."""
        return not _first_named(words.lower(), self._known) and float((self.words @ embedding).max()) >= _NEAR

    def nearest(self, embedding: Array, prompt: str = "", seed: int = 0, generation: int = 0) -> int:
        """The surface for the words of ``prompt`` and their (384,) embedding: one of the best, always the same for a seed, so that a zoom
        meets one surface whatever colours and measures are said beside it.

        Of the material that is named first, surfaces whose words are near, which are nothing else before, and which have a greater
        chance, are taken more often.
        Without a material the nearest of all; a quiet one where none is near, or where only colours and measures are said.
        ``generation`` counts the surfaces met before on the way in: inside a brick there are no bricks.
        """
        near = self.words @ embedding
        said = _first_named(prompt.lower(), self._known)
        named, likeness = self._known.get(said, ""), near
        if said and surface_words(prompt).lower() == said:  # nothing that would tell its surfaces apart
            likeness = np.zeros_like(near)
        if not named and (not names_a_surface(prompt) or near.max() < _NEAR):
            named, likeness = QUIET, np.zeros_like(near)
        if generation and (inner := _WITHIN.get(named or self.materials[int(np.argmax(near))][0])) in self._known:
            named, likeness = str(inner), np.zeros_like(near)
        merit = np.array(
            [
                value - _OTHERS * labels.index(named) if named in labels else -np.inf
                for value, labels in zip(likeness, self.materials, strict=True)
            ]
        )
        if not named or merit.max() == -np.inf:
            merit = near
        luck = self._luck(derive(seed, "surface", generation)) + np.log(self._chances)
        return int(np.argmax(merit + _CHOICE * luck))

    def _luck(self, seed: int) -> NDArray[np.float64]:
        """(n,) Gumbel draws, by which the largest sum with a merit is taken as often as a softmax says (Gumbel 1954). Each belongs to an
        exemplar, not to its number.
        """
        drawn = np.array([(derive(seed, name) + 0.5) / 2**48 for name in self.names])
        return np.asarray(-np.log(-np.log(drawn)))

    def pick(self, embedding: Array, seed: int) -> int:
        """One of the nearest surfaces, drawn from the seed, nearer ones more often; for training."""
        near = self.words @ embedding
        best = np.argsort(-near, kind="stable")[:_CANDIDATES]
        chance = np.exp((near[best] - near[best[0]]) / _TEMPERATURE)
        return int(np.random.Generator(np.random.Philox(seed)).choice(best, p=chance / chance.sum()))

    def field(self, number: int, seed: int, box: tuple[int, int, int, int], shrink: int = 1) -> Array:
        """Pixels (y1 - y0, x1 - x0) of the endless field of an exemplar; ``box`` = (x0, y0, x1, y1) in whole pixels of the field.

        ``shrink`` is a power of two up to 32: the same field so many times smaller.
        """
        turn = derive(seed, "orientation") % 4
        columns, rows = np.arange(box[0], box[2]), np.arange(box[1], box[3])
        if self.ordered[number]:
            return self._laid(number, turn).part(derive(seed, "courses"), rows, columns, shrink)
        # Quiet surfaces are noise as they are: mixing leaves no lattice in them.
        bent = QUIET not in self.materials[number]
        return _mixed(self._ready(number, turn, shrink), seed, rows, columns, shrink, bent)

    def _laid(self, number: int, turn: int) -> Courses:
        """The plane of an exemplar whose order is kept; the last few are kept."""
        key = (number, turn)
        if key not in self._planes:
            while len(self._planes) >= _KEPT_PLANES:
                del self._planes[next(iter(self._planes))]
            self._planes[key] = Courses(self._ready(number, turn, 1))
        return self._planes[key]

    def _ready(self, number: int, turn: int, shrink: int) -> Array:
        """An exemplar mirrored along one axis, the other, both or none, and shrunk; the last few are kept."""
        key = (number, turn, shrink)
        if key not in self._kept:
            texture = self.texture(number)
            texture = texture[::-1] if turn & 1 else texture
            texture = texture[:, ::-1] if turn & 2 else texture
            small = texture.reshape(SIDE // shrink, shrink, SIDE // shrink, shrink).mean((1, 3), dtype=np.float32)
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = np.ascontiguousarray(small)
        return self._kept[key]

    def seen(self, number: int, seed: int, box: tuple[int, int, int, int], scale: float) -> Array:
        """The field as a zoom meets it at ``scale`` pixels made for a photo pixel: nothing before ``Sight`` begins; while the surface is
        shrunk, the grain of its own pixels lies over it.
        """
        sight = Sight.at(scale)
        if sight.generation < 0:
            return np.zeros((box[3] - box[1], box[2] - box[0]), np.float32)
        found = self.field(number, derive(seed, sight.generation), box, sight.shrink)
        if sight.shrink > 1:
            found = found + _GRAIN * self.field(number, derive(seed, sight.generation, sight.shrink), box)
        return found * np.float32(self._strength(number, sight.shrink))

    def stronger(self, number: int, scale: float, rough: Array, light: Array, vivid: Array | float = 1.0) -> Array:
        """What ``seen`` is to be multiplied by where the picture it is lent to is as ``rough``, ``light`` and ``vivid`` as said, which
        ``roughness.py`` measures.

        The rougher a place, the stronger its surface, so that every octave has about the contrast of the one before, but nearer to what is
        usual; never so strong that it would be louder than real surfaces are, or that black and white would cut it off. Contrast is that
        of the two octaves which a step adds, after the network's shading. A surface that was drawn is no measure of nature: it becomes as
        strong as surfaces usually are, however rough the place. A quiet one stays as it is.
        """
        sight = Sight.at(scale)
        if sight.generation < 0 or QUIET in self.materials[number]:
            return np.ones_like(rough)
        whole, grain = self._contrast(number, 1)
        own = self._contrast(number, sight.shrink)[1]
        if sight.shrink > 1:
            own = float(np.hypot(own, _GRAIN * grain))
        made = max(own * self._strength(number, sight.shrink), 1e-4) * shading(light)
        most = float(np.power(_LIFT, min(1.0, whole / _FULL)))
        drawn = self._drawn[number]
        wanted = np.clip(_ROUGH * float(np.power(sight.shrink, _RISING)) * rough / made, 1, 1 if drawn else most)
        seen = made * vivid  # limits are for what the colours do, not for luma alone
        loud = np.maximum(_LOUD / seen, _LEAST_LOUD)
        lent = np.minimum(wanted, loud)
        small = sight.shrink > 1
        usual, back, stronger = (_USUAL_SMALL, _BACK_SMALL, _STRONGER_SMALL) if small else (_USUAL, _BACK, _STRONGER)
        lent = lent * np.minimum((usual / (lent * seen)) ** (1 if drawn else back), stronger)
        room = np.maximum((_ROOM * np.minimum(light, 1 - light) + _DARK) / made, _LEAST)
        milder = _MILDER * float(np.power(sight.shrink, _MILDER_SMALL))
        return np.asarray(milder * np.minimum(lent, room), np.float32)

    def _strength(self, number: int, shrink: int) -> float:
        if QUIET in self.materials[number]:
            return float(np.power(shrink, -_QUIETER))
        fitting = min(1.0, _STRONGEST / max(self._contrast(number, 1)[0], 1e-6))
        return fitting * min(1.0, float(np.power(_SMALL / shrink, _RISE)))

    def _contrast(self, number: int, shrink: int) -> tuple[float, float]:
        """Standard deviation of a shrunk exemplar, and of what of it its means over ``_ADDED`` pixels do not hold."""
        key = (number, shrink)
        if key not in self._contrasts:
            texture = self._ready(number, 0, shrink)
            cells = texture.reshape(len(texture) // _ADDED, _ADDED, -1, _ADDED)
            self._contrasts[key] = float(texture.std()), float((cells - cells.mean((1, 3), keepdims=True)).std())
        return self._contrasts[key]


@dataclass(frozen=True, slots=True)
class Sight:
    """Which surface of a zoom is met at a scale: the number of those met before, and how far it is shrunk."""

    generation: int
    shrink: int

    @property
    def small(self) -> bool:
        """Whether it is shrunk so far that it cannot be recognised."""
        return self.shrink > _SMALL

    @classmethod
    def at(cls, scale: float) -> Sight:
        """``scale``: pixels made for a photo pixel; between octaves the nearest counts."""
        generation, octave = divmod(round(float(np.log2(scale))) - _FIRST, _OCTAVES)
        return cls(generation, 1 << (_OCTAVES - 1 - octave))


def _first_named(prompt: str, materials: Iterable[str]) -> str:
    """The material whose name comes first in a prompt, the longest of those that begin there; empty when there is none."""
    places = {name: found.start() for name in materials if (found := re.search(rf"\b{re.escape(name)}\b", prompt))}
    return min(places, key=lambda name: (places[name], -len(name)), default="")


def _mixed(texture: Array, seed: int, rows: Numbers, columns: Numbers, shrink: int, bent: bool) -> Array:
    def corners(down: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
        tops, lefts = drawn(seed, down, right, SIDE // _PLACE)
        return tops * _PLACE // shrink, lefts * _PLACE // shrink

    return mixed(texture, corners, around, rows, columns, _LATTICE // shrink, bent)


def _decoded(content: bytes) -> NDArray[np.int8]:
    with PILImage.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("L"), np.int16)
    if pixels.shape != (SIDE, SIDE):
        raise ValueError(f"an exemplar has {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {SIDE} x {SIDE}")
    return np.asarray(np.clip(pixels - 128, -127, 127), np.int8)
