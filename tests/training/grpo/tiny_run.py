"""A small but whole training run: a tiny random model, three photos, a toy reward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from chainzoom.images import to_uint8
from chainzoom.training import tables
from chainzoom.training.grpo.config import Config
from tests.conftest import natural

TOY = '''
from pathlib import Path

def likes(samples, *, wanted):
    """How many of these words an answer holds."""
    return [float(sum(sample.text.count(word) for word in wanted)) for sample in samples]

def moody(samples, *, every):
    """Says nothing about every so many-th sample, and leaves a figure with each."""
    for sample in samples:
        sample.figures["pixels"] = float(sample.pair.crop.shape[0])
    return [None if number % every == 0 else len(sample.text) / 100 for number, sample in enumerate(samples)]

def breaks(samples, *, flag, after):
    """Dies while ``flag`` is there, after so many calls."""
    calls = Path(flag + ".calls")
    count = int(calls.read_text()) + 1 if calls.exists() else 1
    calls.write_text(str(count))
    if Path(flag).exists() and count > after:
        raise KeyboardInterrupt
    return [0.0 for _ in samples]

def short(samples):
    return [1.0] * (len(samples) - 1)

def silent(samples):
    return [None for _ in samples]

def infinite(samples):
    return [float("inf") for _ in samples]

def crash(samples):
    raise ValueError("no such satellite")
'''


def photos(folder: Path, count: int = 3, size: tuple[int, int] = (200, 300)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        PILImage.fromarray(to_uint8(natural(*size, seed=number))).save(folder / f"{number}.png")
    return folder


def toy(folder: Path) -> Path:
    path = folder / "toy.py"
    path.write_text(TOY, encoding="utf-8")
    return path


def settings(folder: Path, rewards: str, **changes: Any) -> tuple[Config, str]:
    """A configuration over ``folder``/model and ``folder``/photos; ``changes`` are top-level keys or SECTION__KEY."""
    tree: dict[str, dict[str, Any]] = {
        "": {"out": str(folder / "run"), "steps": 6, "save_every": 3, "validate_every": 6},
        "model": {"path": str(folder / "model"), "device": "cpu"},
        "data": {"photos": [str(folder / "photos")], "size": 64, "validation_pairs": 2},
        "generation": {"per_prompt": 4, "max_new_tokens": 12},
        "optimiser": {"learning_rate": 5e-3, "pairs": 2, "gradient_checkpointing": False},
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        tree[section][name] = value
    lines = []
    for section, values in tree.items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    text = "\n".join([*lines, rewards])
    return tables.parse(Config, text), text


def values(log: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([entry[name] for entry in log if name in entry])
