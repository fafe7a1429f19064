"""(previous state, crop) pairs to ask about, by number: the same seed gives the same pair for the same number on any machine.

photo states   photo -> random depth -> the parent as the chain would read it -> the part that it would zoom into
chain states   photo -> a zoom of a preset's chain -> every (parent, crop) of it, kept on disk
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.atomic import output_error
from chainzoom.errors import ImageError, OptionError
from chainzoom.images import Image, clip, from_uint, frozen, resize, to_uint8
from chainzoom.photos import Photo
from chainzoom.presets import Preset, load_preset
from chainzoom.prompters.asking import Request
from chainzoom.prompters.questions import prompt_question
from chainzoom.regions import STEP_FACTOR, Move, native_ladder, plan_native
from chainzoom.seeds import derive
from chainzoom.step import Work
from chainzoom.training.grpo.config import Data

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"})
_TRIES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One thing to describe.

    name    where it is from, for people: photo, point and scale
    parent  the previous state (H, W, 3) in [0, 1]
    crop    the part that is zoomed into, enlarged by bicubic interpolation as the prompter sees it (h, w, 3)
    move    where the crop lies in the parent, for a reward that makes the step
    shape   (width, height) of the state to be made
    scale   its output pixels per source pixel
    seed    for a reward that makes the step
    """

    name: str
    parent: Image
    crop: Image
    move: Move
    shape: tuple[int, int]
    scale: float
    seed: int

    @property
    def images(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Parent and crop as models are shown them, 8 bits."""
        return to_uint8(self.parent), to_uint8(self.crop)

    def request(self) -> Request:
        """What the ``vlm`` prompter would ask, drawn greedily."""
        return Request(self.images, prompt_question(2), 0.0, 0)

    def work(self, words: str) -> Work:
        """The chain's step from here, steered by ``words``."""
        return Work(self.parent, self.move, self.shape, words, self.seed)


class Pairs(Protocol):
    """Pairs by number, without end."""

    def __getitem__(self, index: int) -> Pair:
        """The pair of this number (from 0)."""
        ...


def list_photos(places: Sequence[str]) -> list[tuple[str, Path]]:
    """(name, path) of every picture file in the folders, names relative to them, in a fixed order. Raises OptionError."""
    found: dict[str, Path] = {}
    for place in places:
        root = Path(place)
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES) if root.is_dir() else [root]
        if not root.exists() or not files:
            what = "holds no pictures" if root.is_dir() else "is not there"
            raise OptionError(f"data.photos: {place} {what}; give folders with {', '.join(sorted(SUFFIXES))}")
        prefix = f"{root.name}/" if len(places) > 1 and root.is_dir() else ""
        found |= {prefix + (path.relative_to(root).as_posix() if root.is_dir() else path.name): path for path in files}
    return sorted(found.items())


def split(
    photos: Sequence[tuple[str, Path]], share: float, seed: int, wanted: int = 1
) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """Training and validation photos: no photo is in both, except where there is just one.

    A small collection gives more than its ``share``: as many as are ``wanted``, up to a tenth, and always one.
    """
    order = sorted(photos, key=lambda photo: derive(seed, "split", photo[0]))
    count = max(1, round(share * len(order)), min(wanted, len(order) // 10))
    if len(order) < 2:
        return list(order), list(order)
    return sorted(order[count:]), sorted(order[:count])


class PhotoPairs:
    """Pairs of real pixels: the photo as it is, or shrunk by one of the factors that a chain passes through on its way down to 1x."""

    def __init__(self, photos: Sequence[tuple[str, Path]], size: int, seed: int) -> None:
        self._photos, self._size, self._seed = list(photos), size, seed
        # A pair is asked for once an answer; opening a photo decodes it whole.
        self._pair = lru_cache(maxsize=64)(self._made)
        self._open = lru_cache(maxsize=4)(Photo.open)

    def __getitem__(self, index: int) -> Pair:
        return self._pair(index)

    def _made(self, index: int) -> Pair:
        for attempt in range(_TRIES):
            rng = np.random.default_rng(derive(self._seed, "pair", index, attempt))
            number = rng.integers(len(self._photos)) if attempt else _shuffled(len(self._photos), self._seed, index)
            name, path = self._photos[int(number)]
            try:
                photo = self._open(path)
            except ImageError:
                continue  # a damaged file: another photo takes its turn
            return self._cut(name, photo, rng, derive(self._seed, "pair", index))
        raise ImageError(f"{_TRIES} of the photos in turn cannot be read, last {path}; remove what is damaged")

    def _cut(self, name: str, photo: Photo, rng: np.random.Generator, seed: int) -> Pair:
        at = (float(rng.random()), float(rng.random()))
        fit = min(1.0, self._size / max(photo.width, photo.height))
        scales = [scale for scale in native_ladder(fit, STEP_FACTOR) if scale <= 1]
        scale = scales[int(rng.integers(len(scales)))]
        width, height = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        *_, before, planned = plan_native(width, height, at, STEP_FACTOR, self._size)
        sx, sy = photo.width / width, photo.height / height
        x0, y0, x1, y1 = before.region.as_tuple()
        parent = frozen(photo.read((x0 * sx, y0 * sy, x1 * sx, y1 * sy), before.shape))
        assert planned.move is not None
        label = f"{name} at {at[0]:.4f},{at[1]:.4f}, {planned.scale * scale:.3g}x"
        return Pair(label, parent, seen(parent, planned.move, planned.shape), planned.move, planned.shape, planned.scale * scale, seed)


class ChainPairs:
    """Pairs out of finished zooms on disk, every one once before any is seen again."""

    def __init__(self, folders: Sequence[Path], seed: int) -> None:
        self._entries = [(folder, entry) for folder in folders for entry in json.loads((folder / "pairs.json").read_text())]
        if not self._entries:
            raise OptionError("the zooms end before anything is synthesised; raise data.to (scale of the last state)")
        self._seed = seed
        self._pair = lru_cache(maxsize=64)(self._read)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Pair:
        return self._pair(_shuffled(len(self._entries), self._seed, index))

    def _read(self, number: int) -> Pair:
        folder, entry = self._entries[number]
        with PILImage.open(folder / entry["parent"]) as file:
            parent = frozen(from_uint(np.asarray(file.convert("RGB"))))
        crop, box = entry["move"]["crop"], entry["move"]["box"]
        move = Move(entry["move"]["factor"], (crop[0], crop[1], crop[2], crop[3]), (box[0], box[1], box[2], box[3]))
        shape = (entry["shape"][0], entry["shape"][1])
        return Pair(entry["name"], parent, seen(parent, move, shape), move, shape, entry["scale"], entry["seed"])


def seen(parent: Image, move: Move, shape: tuple[int, int]) -> Image:
    """The crop as the chain shows it to a prompter: enlarged by bicubic interpolation to the size of the state to be made."""
    x0, y0, x1, y1 = move.crop
    return frozen(clip(resize(parent[y0:y1, x0:x1], shape, "bicubic", move.box)))


def make_pairs(data: Data, seed: int, cache: Path, say: Callable[[str], None]) -> tuple[Pairs, Pairs]:
    """Training and validation pairs; zooms that are not in ``cache`` yet are made now. Raises OptionError, ImageError, PresetError, ..."""
    photos = list_photos(data.photos)
    parts = split(photos, data.validation, seed, data.validation_pairs)
    if data.states == "photo":
        train, validation = (
            PhotoPairs(part, data.size, derive(seed, name)) for name, part in zip(("train", "validation"), parts, strict=True)
        )
        train[0], validation[0]  # photos that cannot be read show now
        return train, validation
    preset = load_preset(data.preset)
    preset.check(size=data.size, mode="multiscale")
    counts = (data.zooms, max(1, round(data.zooms * data.validation)))
    made = []
    build = lru_cache(maxsize=1)(lambda: preset.build(size=data.size, mode="multiscale"))
    for name, part, count in zip(("train", "validation"), parts, counts, strict=True):
        where = cache / _identity(data, seed, preset, part) / name
        folders = []
        for number in range(count):
            folder = where / f"{number:06d}"
            if not (folder / "pairs.json").is_file():
                say(f"zooming for {name} pairs: {number + 1} of {count}")
                _zoom(folder, build(), part, data, derive(seed, name, "zoom", number), number)
            folders.append(folder)
        made.append(ChainPairs(folders, derive(seed, name)))
    return made[0], made[1]


def _zoom(folder: Path, chain: Any, photos: Sequence[tuple[str, Path]], data: Data, seed: int, number: int) -> None:
    """Run a chain and keep its pairs in ``folder``, which appears only when all is there."""
    rng = np.random.default_rng(seed)
    name, path = photos[_shuffled(len(photos), derive(data.size, "photos"), number)]
    at = (float(rng.random()), float(rng.random()))
    photo = Photo.open(path)
    plan = chain.settings.plan(photo, at, data.to)
    part = folder.with_name(f".unfinished-{folder.name}-{os.getpid()}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        entries = []
        for before, step in _steps(chain.run(photo, at=at, to=data.to, seed=seed)):
            move = plan[step.index].move
            if step.kind != "synthesised" or move is None:
                continue
            parent = f"{step.index}.png"
            PILImage.fromarray(to_uint8(before.image)).save(part / parent)
            entries.append(
                {
                    "name": f"{name} at {at[0]:.4f},{at[1]:.4f}, {step.scale:.3g}x",
                    "parent": parent,
                    "move": {"factor": move.factor, "crop": move.crop, "box": move.box},
                    "shape": plan[step.index].shape,
                    "scale": step.scale,
                    "seed": step.seed,
                }
            )
        (part / "pairs.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
        part.replace(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not (folder / "pairs.json").is_file():  # else another process was faster, with the same bytes
            raise output_error(folder, error) from error


def _steps(steps: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """(previous, this) for every step after the first."""
    before = next(steps)
    for step in steps:
        yield before, replace(step, alpha=None)
        before = step


def _identity(data: Data, seed: int, preset: Preset, photos: Sequence[tuple[str, Path]]) -> str:
    """Names the zooms of one setting, so that a cache never mixes up two."""
    what = [preset.parts(), dict(preset.chain), data.size, data.to, seed, [name for name, _ in photos]]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]


@lru_cache(maxsize=8)
def _order(count: int, seed: int, turn: int) -> NDArray[np.int64]:
    return np.random.default_rng(derive(seed, "order", turn)).permutation(count)


def _shuffled(count: int, seed: int, index: int) -> int:
    """The ``index``-th of ``count`` things: all of them in a random order, then all again in another."""
    return int(_order(count, seed, index // count)[index % count])
