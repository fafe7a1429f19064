"""What decides a picture: the view that somebody chose. Plain data that travels to the worker processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chainzoom.provenance import Provenance
from chainzoom.version import __version__


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """A photo under a preset, words, seed and consistency (None: the preset's).

    ``preset`` is what ``load_preset`` takes; ``sha256`` the photo file's hash.
    """

    path: Path
    sha256: str
    preset: str = "default"
    prompt: str = ""
    seed: int = 0
    consistency: float | None = None
    weights_dir: Path | None = None

    @property
    def id(self) -> str:
        """A name for the view: the same choices give the same one, on any machine."""
        chosen = [__version__, self.sha256, self.preset, self.prompt, self.seed, self.consistency]
        return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker knows of a view: ``identity`` is a hash of everything that decides its pixels."""

    identity: str
    preset: str
    facts: dict[str, Any]
    prompter: str | None
    settings: dict[str, Any]
    tiling: dict[str, Any]
    parts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OpenTask:
    """Build a view's planes and say what they are: answered by Opened."""

    spec: ViewSpec


@dataclass(frozen=True, slots=True)
class TileTask:
    """Pixels of a box at a scale, as PNG: answered by Made. With ``provenance`` the PNG says where it comes from."""

    spec: ViewSpec
    scale: float
    box: tuple[int, int, int, int]
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class WordsTask:
    """The words of the window at a point (photo pixels) of a level: answered by Said."""

    spec: ViewSpec
    level: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Made:
    """A picture and its cost: seconds in all and in the backbone; ``windows`` were made for it."""

    data: bytes
    seconds: float
    backbone: float
    windows: int


@dataclass(frozen=True, slots=True)
class Said:
    """A window's prompt."""

    text: str
    source: str
    tags: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
