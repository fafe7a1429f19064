"""The list of known weights: repository, files, licence, published hashes (``catalogue.toml``)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from chainzoom.errors import OptionError

INDEX = ".index.json"
"""Ending of the files that name the shards of a large checkpoint."""
TERMS = ("open", "use restrictions", "non-commercial", "unclear")


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue.

    source      ``hub`` or ``github``; repository: ``owner/name`` there; revision: branch, tag or commit
    gated       whether the hub hands it out only to accounts that accepted its terms
    terms       one of ``TERMS``, what ``licence`` (a sentence) comes to; licence_url: where to read it
    files       paths that must be there; a file that ends in ``INDEX`` brings the shards that it names
    optional    paths that some revisions lack
    size        bytes in all, 0 when not known; size_at_least: files of unknown size come on top
    sha256      path -> published hash, for the files whose hash is known
    """

    name: str
    title: str
    source: str
    repository: str
    terms: str
    licence: str
    licence_url: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()
    revision: str = "main"
    gated: bool = False
    size: int = 0
    size_at_least: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict)

    def url(self, path: str, revision: str | None = None) -> str:
        """Address of a file; ``HF_ENDPOINT`` and ``CHAINZOOM_GITHUB`` point to mirrors of the hub and of GitHub."""
        rest = f"{quote(revision or self.revision, safe='')}/{quote(path)}"
        if self.source == "hub":
            return f"{hub_address()}/{self.repository}/resolve/{rest}"
        base = (os.environ.get("CHAINZOOM_GITHUB") or "https://github.com").rstrip("/")
        return f"{base}/{self.repository}/raw/{rest}"

    @property
    def notice(self) -> str:
        """The licence in a line, with the address where it is told in full."""
        return f"{self.licence} ({self.licence_url})"


def hub_address() -> str:
    """Address of the model hub, without a closing slash."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


@cache
def all_models() -> Mapping[str, Model]:
    """Name -> model, in the file's order."""
    text = (resources.files("chainzoom.models") / "catalogue.toml").read_text(encoding="utf-8")
    return parse(text)


def parse(text: str) -> dict[str, Model]:
    """Models from a catalogue's TOML text; lists become tuples."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    made = {}
    for name, table in tables.items():
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        made[name] = Model(name, **fields)
    return made


def find_model(name: str) -> Model:
    """A model by name. Raises OptionError with the known names."""
    if name not in all_models():
        raise OptionError(f"unknown model '{name}'; known are {', '.join(all_models())}")
    return all_models()[name]
