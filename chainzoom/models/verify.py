"""Reading every byte of the weights again: damaged, missing, or as recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chainzoom.models.catalogue import Model
from chainzoom.models.lockfile import read_lock
from chainzoom.models.store import Found, Store, locked_files
from chainzoom.weights import sha256_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file: ``state`` is ``ok``, ``damaged``, ``missing`` or ``no hash``; ``against``: whose hash it was compared with."""

    model: str
    path: str
    state: str
    against: str = ""

    @property
    def bad(self) -> bool:
        """Whether the model must be fetched again."""
        return self.state in ("damaged", "missing")


def verify(model: Model, store: Store) -> Iterator[Verdict]:
    """Compare the model's files with the lock file, the catalogue, or the hash that the hub's cache names them by.

    Yields nothing for a model of which nothing was ever here. ``no hash``: a file that came by other ways than ``fetch``, and of which
    no hash is published.
    """
    found = store.locate(model)
    locked = locked_files(model, read_lock(store.weights_dir)) if found.place != "hub cache" else {}
    paths = list(dict.fromkeys([*found.present, *locked, *(found.missing if found.present or locked else ())]))
    for path in paths:
        if not (found.folder / path).is_file():
            yield Verdict(model.name, path, "missing")
            continue
        expected, against = (locked[path].sha256, locked[path].trust) if path in locked else _published(model, path, found)
        if not expected:
            yield Verdict(model.name, path, "no hash")
            continue
        yield Verdict(model.name, path, "ok" if sha256_of(found.folder / path) == expected else "damaged", against)


def _published(model: Model, path: str, found: Found) -> tuple[str, str]:
    if path in model.sha256:
        return model.sha256[path], "catalogue"
    blob = (found.folder / path).resolve().name
    if found.place == "hub cache" and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob, "hub cache"
    return "", ""
