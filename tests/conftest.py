"""Fakes and pictures that the tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.backbones.base import BackboneFacts
from chainzoom.images import Image, clip, from_uint, resize
from chainzoom.prompters.base import Prompt, View
from chainzoom.weights import Weights

# A background job is started with Ctrl-C ignored, and so is what the tests start and stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"


def read8(path: Path) -> Image:
    with PILImage.open(path) as image:
        return from_uint(np.asarray(image.convert("RGB")))


def natural(height: int, width: int, seed: int = 0) -> Image:
    """A picture with the falling spectrum of natural ones: noise summed over octaves."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 8):
        small = rng.standard_normal((max(2, height >> octave), max(2, width >> octave), 3)).astype(np.float32)
        total += resize(small, (width, height), "bicubic") * np.float32(2.0**octave)
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low), dtype=np.float32)


class NoisyBackbone:
    """Bicubic plus seeded noise and a word-dependent shift: stochastic, text-aware, cheap."""

    def __init__(self, scale: int = 4, multiple: int = 1, min_size: int = 1, kind: str = "lowres", noise: float = 0.03) -> None:
        self.noise = np.float32(noise)
        self.facts = BackboneFacts("noisy", scale, multiple, min_size, True, True, kind, (Weights("noise", "1", "00", "CC0"),))
        self.calls: list[tuple[tuple[int, ...], str, int]] = []

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        self.calls.append((image.shape, prompt, seed))
        zoom = self.facts.scale if self.facts.input == "lowres" else 1
        big = resize(image, (image.shape[1] * zoom, image.shape[0] * zoom), "bicubic") if zoom > 1 else image
        noise = np.random.default_rng(seed).standard_normal(big.shape).astype(np.float32)
        return clip(big + self.noise * noise + np.float32(len(prompt) % 7) / 100)


class EchoPrompter:
    """Says how much it was shown; keeps the views."""

    name = "echo"
    weights = (Weights("echo", "1", "11", "CC0"),)

    def __init__(self, looks_at_photo: bool = False) -> None:
        self.looks_at_photo = looks_at_photo
        self.views: list[View] = []

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        self.views.extend(views)
        return [Prompt(f"words {len(view.history)}", "echo", (("words", 0.5),)) for view in views]


@pytest.fixture
def photo() -> Image:
    return natural(96, 144)


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    PILImage.fromarray((natural(192, 256) * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered between runs stays out of the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINZOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
