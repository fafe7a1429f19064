"""Results to study: pictures listed in a manifest, and run folders as ``chainzoom zoom`` leaves them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.evaluation.study.design import Study
from tests.conftest import natural

METHODS = ("alpha-net", "beta-net", "gamma-net")
SCALES = (4, 16, 64)


def save(path: Path, side: int, seed: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray((natural(side, side, seed) * 255).astype(np.uint8)).save(path)
    return path.name


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes, three methods, three scales; the words of gamma-net are missing from half of the scenes."""
    folder = tmp_path_factory.mktemp("results")
    photos: list[dict[str, Any]] = []
    for k in range(6):
        methods = {}
        for number, method in enumerate(METHODS):
            states = []
            for level, scale in enumerate(SCALES):
                name = save(folder / f"{k}-{number}-{scale}.png", 48, 100 * k + 10 * number + level)
                words = "" if method == "gamma-net" and k % 2 else f"words {number} of scene {k} at {scale}"
                states.append({"scale": scale, "picture": name, "words": words})
            methods[method] = states
        whole = save(folder / f"{k}.png", 64, 900 + k)
        photos.append({"name": f"scene {k}", "whole": whole, "box": [0.4, 0.4, 0.5, 0.5], "methods": methods})
    (folder / "manifest.json").write_text(json.dumps({"schema": "chainzoom.study.manifest/1", "photos": photos}))
    return folder


Taste = Callable[[str, str, random.Random], float]


def answer(study: Study, rater: str, taste: Taste, **changes: Any) -> dict[str, Any]:
    """A rater's file; ``taste`` gives the wish for (kind, method), which is rounded to 1 .. 5."""
    rng = random.Random(rater)
    scores = {}
    for one in study.sets:
        for item in one.items:
            scores[item.id] = min(5, max(1, round(taste(one.kind, item.methods[0], rng))))
    made = {
        "schema": "chainzoom.study.answers/1",
        "study": study.id,
        "rater": rater,
        "complete": True,
        "started": "2026-01-01T10:00:00Z",
        "finished": "2026-01-01T10:09:00Z",
        "scores": scores,
        "seconds": {one.id: 54.0 for one in study.sets},
    }
    return made | changes
