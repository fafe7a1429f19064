"""Seeds that depend on what is made, not on when: the same place in the same zoom gets the same seed on any machine."""

from __future__ import annotations

import hashlib
import json

from chainzoom.errors import OptionError

MAX_SEED = 2**48 - 1
"""Seeds fit in 48 bits so that JSON readers with doubles keep them exact."""


def derive(seed: int, *parts: str | int) -> int:
    """A 48-bit seed from the run's seed and the names of what is made, e.g. ``derive(0, photo_sha256, "step", 3)``."""
    text = json.dumps([seed, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def check_seed(seed: int) -> None:
    """Raise OptionError for a seed outside 0 .. MAX_SEED."""
    if not 0 <= seed <= MAX_SEED:
        raise OptionError(f"--seed takes an integer from 0 to {MAX_SEED}; got {seed}")
