"""``weights.lock.json``: the hash of every file that was fetched, and on whose word it was believed.

Where no hash was published, the first download is trusted and recorded (trust on first use); from then on the same bytes are demanded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chainzoom.atomic import write_bytes
from chainzoom.errors import WeightsError

NAME = "weights.lock.json"
TRUST = ("catalogue", "server", "first download", "found here")
"""Who vouches for a hash: the catalogue's published one, the one that the server announced, nobody before the first download, or
nobody at all for a file that the user put there."""


@dataclass(frozen=True, slots=True)
class Locked:
    """What is known of one file: its bytes' hash and number, where it came from (``revision``: the commit, when announced), who vouches."""

    sha256: str
    size: int
    url: str = ""
    revision: str = ""
    trust: str = "first download"


def read_lock(folder: Path) -> dict[str, Locked]:
    """``model/path`` -> Locked; empty when there is no lock file yet. Raises WeightsError when it is not readable."""
    file = folder / NAME
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {key: Locked(**value) for key, value in content["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise WeightsError(
            f"{file} is not a readable lock file; restore it from a backup, or delete it to trust the files here anew"
        ) from None


def write_lock(folder: Path, locked: Mapping[str, Locked]) -> None:
    """Write the whole lock file in one move. Raises OutputError."""
    content = {"version": 1, "files": {key: asdict(locked[key]) for key in sorted(locked)}}
    write_bytes(folder / NAME, (json.dumps(content, indent=2) + "\n").encode())
