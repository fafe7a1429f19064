"""Chains for viewer tests that cost next to nothing; worker processes import this module."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chainzoom.backbones.base import BackboneFacts
from chainzoom.chain import Chain
from chainzoom.images import Image, clip, resize
from chainzoom.prompters.base import Prompt, View
from chainzoom.seeds import derive
from chainzoom.viewer.specs import ViewSpec


class Painter:
    """Bicubic plus a weave whose colour comes from the words and whose shift comes from the seed."""

    facts = BackboneFacts("painter", uses_prompt=True, stochastic=True)

    def __init__(self, seconds: float = 0.0, crash: Path | None = None) -> None:
        self._seconds, self._crash = seconds, crash

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        if self._crash is not None and self._crash.exists():
            self._crash.unlink()
            os._exit(9)
        time.sleep(self._seconds)
        out = resize(image, (image.shape[1] * 4, image.shape[0] * 4), "bicubic")
        tint = np.array([derive(1, prompt, c) % 100 for c in range(3)], np.float32) / 400
        rows, columns = np.indices(out.shape[:2])
        weave = (np.sin((columns + seed % 7) / 3) * np.sin(rows / 3)).astype(np.float32) * 0.06
        return clip(out + weave[..., None] + tint - 0.1)


class Talker:
    """Says how bright the view is."""

    name = "talker"
    weights = ()

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        words = ["bright" if view.crop.mean() > 0.5 else "dark" for view in views]
        return [Prompt(f"{word} cloth", self.name, ((word, 0.9), ("cloth", 0.6))) for word in words]


def quick(spec: ViewSpec) -> Chain:
    return Chain(Painter(), Talker(), user_prompt=spec.prompt)


def slow(spec: ViewSpec) -> Chain:
    return Chain(Painter(0.3), Talker(), user_prompt=spec.prompt)


def crashing(spec: ViewSpec) -> Chain:
    """Dies once for every file ``crash`` beside the photo."""
    return Chain(Painter(crash=spec.path.with_name("crash")), Talker(), user_prompt=spec.prompt)
