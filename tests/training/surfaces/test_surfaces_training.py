"""Training the surface tagger on made-up surfaces, with the real network and no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PILImage

from chainzoom.cli.train_surfaces import surfaces
from chainzoom.errors import OptionError
from chainzoom.prompters.surfaces import read_head
from chainzoom.training.surfaces.fit import fit, folds, weights
from chainzoom.training.surfaces.patches import picture_patches
from chainzoom.training.surfaces.run import KEPT, REPORT, WEIGHTS, Options, choose, learnable, read_textures, train_surfaces

SIDE = 80


def _surface(material: str, random: np.random.Generator) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    y, x = np.mgrid[:SIDE, :SIDE] * random.uniform(0.8, 1.25)
    plane = {"brick": np.sign(np.sin(x * 0.5)), "sand": random.standard_normal((SIDE, SIDE)), "": np.sin(x / 9) * np.sin(y / 9)}[material]
    return np.asarray(np.clip(0.5 + 0.2 * plane[..., None] + random.uniform(-0.2, 0.2, 3), 0, 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three groups of two materials and a photo, for either split."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for split in ("train", "test"):
        for number, material in enumerate(["brick"] * 3 + ["sand"] * 3 + [""]):
            path = folder / f"{split}-{number}.png"
            random = np.random.default_rng([number, split == "test"])
            PILImage.fromarray((_surface(material, random) * 255).round().astype(np.uint8)).save(path)
            row = {
                "file": path.name,
                "caption": "",
                "materials": [material] if material else [],
                "kind": "texture" if material else "photo",
            }
            row |= {"split": split, "group": path.stem, "width": SIDE, "height": SIDE}
            rows.append(row | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = CliRunner().invoke(surfaces, [str(data), str(out), "--patches", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(out / WEIGHTS)
    return out


def test_learns_what_it_is_shown(trained: Path) -> None:
    report = json.loads((trained / REPORT).read_text())
    assert report["pictures"] == {"count": 6, "first right": 1.0}
    assert report["photos"]["count"] == 5
    assert read_head(trained / WEIGHTS).materials == ("brick", "sand")


def test_goes_on_from_kept_features_to_the_same_file(data: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (trained / WEIGHTS).read_bytes()
    (trained / WEIGHTS).unlink()
    assert len(list((trained / KEPT).iterdir())) == 14
    monkeypatch.setattr("chainzoom.training.surfaces.run.picture_features", lambda *_: pytest.fail("seen again"))
    train_surfaces(data, trained, Options(patches=1), lambda _done, _total: None)
    assert (trained / WEIGHTS).read_bytes() == before


def test_patches_depend_on_the_picture_and_the_seed_alone(data: Path) -> None:
    one, other = read_textures(data)[:2]
    first = picture_patches(one, 2, seed=0)
    assert all(patch.shape == (260, 260, 3) and patch.dtype == np.float32 and 0 <= patch.min() < patch.max() <= 1 for patch in first)
    np.testing.assert_array_equal(first, picture_patches(one, 2, seed=0))
    assert not np.array_equal(first[0], picture_patches(one, 2, seed=1)[0])
    assert not np.array_equal(first[0], picture_patches(other, 2, seed=0)[0])


def test_too_few_surfaces(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="4 groups of surfaces"):
        train_surfaces(data, tmp_path / "out", Options(least=4), lambda _done, _total: None)
    with pytest.raises(OptionError, match="no prepared folder"):
        train_surfaces(tmp_path, tmp_path / "out", Options(), lambda _done, _total: None)


def test_common_materials_do_not_take_all_the_time(data: Path) -> None:
    textures = read_textures(data)
    chosen = choose(textures, learnable(textures, 3), Options(most=2))
    assert sorted((one.split, *one.materials) for one in chosen) == sorted(
        [(split, name) for split in ("train", "test") for name in ("brick", "sand") for _ in range(2)] + [("train",), ("test",)]
    )


def test_partial_labels() -> None:
    """Patches that may be either of two, or one of two or none, do not blur what others say plainly."""
    random = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 40)
    rows = (np.eye(3)[kinds] * 4 + random.standard_normal((120, 3))).astype(np.float32)
    allowed = np.eye(3, dtype=np.bool_)[kinds]
    allowed[:20, 1] = True  # of the first kind, but may be called the second
    allowed[100:, 0] = True  # none of these, but may be called the first
    head = fit(rows, allowed, [str(k) for k in range(120)], ("a", "b"))
    p = head.probabilities(rows)
    assert (p[:40].argmax(axis=1) == 0).mean() > 0.9
    assert (p[80:].sum(axis=1) < 0.5).mean() > 0.9


def test_rare_materials_count_more_each_and_groups_stay_together() -> None:
    allowed = np.zeros((30, 3), np.bool_)
    allowed[:20, 0] = allowed[20:24, 1] = allowed[24:, 2] = True
    each = weights(allowed)
    assert each.sum() == pytest.approx(1)
    assert each[24:].sum() == pytest.approx(0.3)
    assert each[20] / each[0] == pytest.approx(np.sqrt(5))
    groups = [f"g{k // 2}" for k in range(30)]
    fold = folds(allowed, groups)
    assert all(fold[k] == fold[k + 1] for k in range(0, 30, 2))
    assert set(fold[20:24]) == {0, 1}  # the rarest material's groups are dealt out first
