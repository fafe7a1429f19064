from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from chainzoom.images import Image, clip, resize
from chainzoom.report.frames import Frame, RunSummary
from chainzoom.weights import Weights


@cache
def photo(width: int, height: int) -> Image:
    """A picture with detail at every scale, as photographs have."""
    rng = np.random.default_rng(3)
    out = np.full((height, width, 3), 0.5, dtype=np.float32)
    for k in range(1, 8):
        small = (rng.random((2**k + 1, 2**k + 1, 3)).astype(np.float32) - 0.5) * np.float32(0.9 / k)
        out += resize(small, (width, height))
    return clip(out)


def build(
    at: tuple[float, float] = (0.36, 0.33),
    scales: tuple[float, ...] = (1, 4, 16, 64),
    size: int = 64,
    photo_size: tuple[int, int] = (180, 120),
) -> list[Frame]:
    """A chain of states as the engine makes them: nested regions, clamped at the borders; each state adds detail of its own."""
    width, height = photo_size
    source = photo(width, height)
    fit = size / max(width, height)
    first = clip(resize(source, (round(width * fit), round(height * fit)), "lanczos"))
    frames = [Frame(0, first, fit, (0, 0, width, height), False, file="states/0.png", seconds={"total": 0.01})]
    rng = np.random.default_rng(5)
    for k, scale in enumerate(scales, 1):
        side = size / scale
        x0 = min(max(at[0] * width - side / 2, 0), width - side)
        y0 = min(max(at[1] * height - side / 2, 0), height - side)
        parent = frames[-1]
        per = parent.image.shape[1] / (parent.region[2] - parent.region[0])
        left, top = (x0 - parent.region[0]) * per, (y0 - parent.region[1]) * per
        right, bottom = min(left + side * per, parent.image.shape[1]), min(top + side * per, parent.image.shape[0])
        image = resize(parent.image, (size, size), "bicubic", (left, top, right, bottom))
        made = scale > 1
        if made:
            image = image + resize(rng.standard_normal((size // 2, size // 2, 3)).astype(np.float32) * np.float32(0.06), (size, size))
        frames.append(
            Frame(
                index=k,
                image=clip(image),
                scale=scale,
                region=(x0, y0, x0 + side, y0 + side),
                synthesised=made,
                prompt="tabby cat, soft fur" if made else "",
                prompt_source="tags" if made else "",
                tags=(("tabby cat", 0.83), ("whisker", 0.02)) if made else (),
                backbone="realesrgan" if made else "lanczos",
                seed=7,
                consistency_raw=30.0 - k if made else None,
                consistency_corrected=48.0 - k if made else None,
                seconds={"prompt": 0.25, "sr": 0.5, "total": 0.75} if made else {"total": 0.125},
                file=f"states/{k}.png",
            )
        )
    return frames


@pytest.fixture
def chain() -> Callable[..., list[Frame]]:
    return build


@pytest.fixture
def summary() -> RunSummary:
    return RunSummary(
        source_name="cat.jpg",
        source_sha256="ab" * 32,
        width=180,
        height=120,
        preset="default",
        mode="multiscale",
        protocol="native",
        at=(0.36, 0.33),
        to=64,
        seed=7,
        version="0.1.0",
        synthesised_from=4.0,
        weights=(Weights("realesrgan-x4plus", "1.0.1", "cd" * 32, "BSD-3-Clause"),),
        notes=("ICC profile converted to sRGB",),
    )
