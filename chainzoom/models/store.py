"""Where weights lie: the weights folder (``--weights-dir``, ``CHAINZOOM_WEIGHTS``) first, then the model hub's own cache. No network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from chainzoom.errors import WeightsError
from chainzoom.models.catalogue import INDEX, Model, find_model
from chainzoom.models.lockfile import Locked, read_lock

PREFIX = "models:"
"""How an option names weights: ``models:NAME`` is the folder, ``models:NAME/path`` a file or folder in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a model is and how much of it: ``place`` is ``weights folder``, ``hub cache`` or empty."""

    folder: Path
    place: str
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every file is there that must be."""
        return bool(self.place) and not self.missing

    @property
    def state(self) -> str:
        """``here``, ``3 of 12 files`` or ``no``."""
        if self.complete:
            return "here"
        return f"{len(self.present)} of {len(self.present) + len(self.missing)} files" if self.present else "no"


@dataclass(frozen=True, slots=True)
class Store:
    """Folders in which weights are looked for; both default to the environment's."""

    weights_dir: Path = field(default_factory=lambda: default_weights_dir())
    hub_cache: Path = field(default_factory=lambda: default_hub_cache())

    @classmethod
    def at(cls, weights_dir: Path | None) -> Store:
        """A store with this weights folder; None: the environment's."""
        return cls() if weights_dir is None else cls(weights_dir)

    def folder(self, model: Model) -> Path:
        """Where ``fetch`` puts the model, or a user's own copy is looked for."""
        return self.weights_dir / model.name

    def locate(self, model: Model) -> Found:
        """The complete copy, else the one in the weights folder, however much of it is there."""
        own = _inspect(self.folder(model), "weights folder", model)
        if not own.complete and model.source == "hub":
            for snapshot in self._snapshots(model):
                cached = _inspect(snapshot, "hub cache", model)
                if cached.complete:
                    return cached
        return own

    def resolve(self, name: str) -> Path:
        """The path that ``NAME`` or ``NAME/path/inside`` (with or without ``models:``) stands for.

        Raises WeightsError with the line that fetches it, and OptionError for an unknown name.
        """
        head, _, inside = name.removeprefix(PREFIX).partition("/")
        model = find_model(head)
        found = self.locate(model)
        if not found.complete:
            some = f" ({found.state} are)" if found.present else ""
            raise WeightsError(f"the weights '{model.name}' are not here{some}: chainzoom models fetch {model.name}")
        if found.place == "weights folder":
            self._check_sizes(model, found)
        path = found.folder / inside
        if ".." in PurePosixPath(inside).parts or not path.exists():
            raise WeightsError(f"the weights '{model.name}' hold no {inside}; known are {', '.join(model.files)}")
        return path

    def resolve_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with every string that begins with ``models:`` replaced by its path, as text; tables inside too."""
        return {key: self._resolve_value(value) for key, value in options.items()}

    def lacking(self, options: Iterable[Mapping[str, Any]]) -> list[str]:
        """Names of the models that the options want and that are not here, in order."""
        return [name for table in options for name in names_in(table) if not self.locate(find_model(name)).complete]

    def unrecorded(self, model: Model) -> list[str]:
        """Files in the weights folder that the lock file does not know, or knows with another size."""
        locked, folder = locked_files(model, read_lock(self.weights_dir)), self.folder(model)
        return [path for path in _inspect(folder, "", model).present if path not in locked or _size(folder / path) != locked[path].size]

    def _resolve_value(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(PREFIX):
            return str(self.resolve(value))
        return self.resolve_options(value) if isinstance(value, Mapping) else value

    def _check_sizes(self, model: Model, found: Found) -> None:
        """A file that is shorter or longer than what was fetched is damaged; whether its bytes are the same is for ``models verify``."""
        locked = read_lock(self.weights_dir)
        for path in found.present:
            known = locked.get(f"{model.name}/{path}")
            if known is not None and (size := _size(found.folder / path)) != known.size:
                raise WeightsError(
                    f"{found.folder / path} is damaged: {known.size} bytes expected, {size} there; chainzoom models fetch {model.name}"
                )

    def _snapshots(self, model: Model) -> list[Path]:
        """Folders of the hub's cache that may hold the model: the revision's, then others, newest first."""
        repository = self.hub_cache / f"models--{model.repository.replace('/', '--')}"
        named: list[Path] = []
        reference = repository / "refs" / model.revision
        if reference.is_file():
            named.append(repository / "snapshots" / reference.read_text(encoding="utf-8").strip())
        others = [path for path in (repository / "snapshots").glob("*") if path.is_dir() and path not in named]
        return [path for path in named if path.is_dir()] + sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)


def names_in(options: Mapping[str, Any]) -> list[str]:
    """Names of the models that options mention, each once, in order."""
    found: list[str] = []
    for value in options.values():
        if isinstance(value, str) and value.startswith(PREFIX):
            found.append(value.removeprefix(PREFIX).partition("/")[0])
        elif isinstance(value, Mapping):
            found += names_in(value)
    return list(dict.fromkeys(found))


def shards_of(index: Path) -> list[str]:
    """Names of the shards that an index file names, relative to its folder.

    Raises WeightsError when it is no such index, or names a path outside its folder.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise WeightsError(f"{index} is not a checkpoint index; delete it and fetch the model again") from None
    odd = [name for name in names if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name) or name.startswith(".")]
    if odd or not names:
        raise WeightsError(f"{index} names shards that are no plain file names ({odd[:1]}); delete it and fetch the model again")
    return names


def wanted_files(model: Model, folder: Path) -> list[str]:
    """The model's files, with the shards of every index that is there already."""
    wanted = []
    for path in model.files:
        wanted.append(path)
        if path.endswith(INDEX) and (folder / path).is_file():
            parent = PurePosixPath(path).parent
            wanted += [str(parent / shard) for shard in shards_of(folder / path)]
    return wanted


def locked_files(model: Model, locked: Mapping[str, Locked]) -> dict[str, Locked]:
    """Path inside the model -> its record."""
    return {key.removeprefix(f"{model.name}/"): value for key, value in locked.items() if key.startswith(f"{model.name}/")}


def default_weights_dir() -> Path:
    """``$CHAINZOOM_WEIGHTS``, else ``chainzoom/weights`` in the user's data folder (``$XDG_DATA_HOME`` or ``~/.local/share``)."""
    if own := os.environ.get("CHAINZOOM_WEIGHTS"):
        return Path(own).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "chainzoom" / "weights"


def default_hub_cache() -> Path:
    """The hub's cache as its own library finds it: ``HF_HUB_CACHE``, ``HF_HOME``, ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cached = os.environ.get("XDG_CACHE_HOME")
    return (Path(cached) if cached else Path.home() / ".cache") / "huggingface" / "hub"


def _inspect(folder: Path, place: str, model: Model) -> Found:
    try:
        wanted = wanted_files(model, folder)
    except WeightsError:  # a broken index: what it names is unknown, so it counts as missing itself
        wanted = list(model.files)
        return Found(folder, place, (), tuple(wanted))
    here = [path for path in wanted if (folder / path).is_file()]
    more = [path for path in model.optional if (folder / path).is_file()]
    missing = tuple(path for path in wanted if path not in here)
    return Found(folder, place if here else "", (*here, *more), missing)


def _size(file: Path) -> int:
    return file.stat().st_size
