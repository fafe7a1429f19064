"""A prepared folder of made-up surfaces whose materials are patterns, and a small random network to see them with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.evaluation.metrics import moments
from chainzoom.evaluation.metrics.moments import _Design, _Layer
from chainzoom.images import Image

MATERIALS = ("stripes", "noise", "waves", "blobs")


def surface(material: str, side: int, seed: int) -> Image:
    """A pattern in grey on a colour that says nothing about it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] * random.uniform(0.8, 1.25)
    plane = {
        "stripes": np.sign(np.sin(x * 1.2)),
        "noise": random.standard_normal((side, side)),
        "waves": np.sin(y / 4),
        "blobs": np.sin(x / 9) * np.sin(y / 9),
    }[material]
    return np.clip(0.5 + 0.2 * plane[..., None] + random.uniform(-0.2, 0.2, 3), 0, 1).astype(np.float32)


def prepare(folder: Path, groups: int = 3, side: int = 160) -> Path:
    """``groups`` groups of two pictures a material and split."""
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for split in ("train", "test"):
        for m, material in enumerate(MATERIALS):
            for k in range(2 * groups):
                name = f"{split}-{material}-{k}"
                seed = 1000 * m + 10 * k + (split == "test")
                path = folder / "pictures" / f"{name}.png"
                PILImage.fromarray((surface(material, side, seed) * 255).round().astype(np.uint8)).save(path)
                row = {"file": f"pictures/{name}.png", "caption": f"{material} number {k}", "materials": [material], "kind": "texture"}
                row |= {"split": split, "group": f"{split}-{material}-{k // 2}", "source": "made up", "origin": "", "licence": "CC0"}
                rows.append(row | {"width": side, "height": side, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("surfaces") / "real")


@pytest.fixture
def textures(_prepared: Path) -> Path:
    return _prepared


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """AlexNet's place is taken by two random convolutions; returns their weights."""
    random = np.random.default_rng(0)
    layers, widths = (_Layer(2, 1, taken=True), _Layer(1, 1, (3, 2), taken=True)), (12, 16)
    tree, before = {}, 3
    for k, width in enumerate(widths):
        kernel = random.standard_normal((3, 3, before, width)).astype(np.float32) / np.sqrt(9 * before)
        tree[f"Conv_{k}"] = {"kernel": kernel, "bias": np.full(width, 0.05, np.float32)}
        before = width
    monkeypatch.setattr(moments, "checkpoint", lambda folder, name: {"AlexNet_0": tree})
    monkeypatch.setitem(moments.DESIGNS, "alexnet", _Design("AlexNet_0", layers, widths, ((1.0, 1.0), (1.0, 0.5))))  # type: ignore[attr-defined]
    return tree
