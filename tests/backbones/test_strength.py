"""How strongly a surface is lent: as rough as the place, no louder than real ones, and no louder from step to step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainzoom.backbones import exemplars
from chainzoom.backbones.exemplars import Exemplars
from chainzoom.backbones.noise import NoiseField
from chainzoom.backbones.pocket import Pocket
from chainzoom.backbones.pocket_network import FIELD_GAIN, SHARE, load, read, shading
from chainzoom.backbones.roughness import lightness, roughness
from chainzoom.images import clip, resize
from tests.backbones.pocket_files import several, shelf, weights


def loud_and_quiet(folder: Path) -> tuple[Exemplars, Exemplars]:
    loud, quiet = (several(folder / f"{name}.zip", {"a": (name,)}) for name in ("wood", "quiet"))
    for found in (loud, quiet):
        found._read[0] = np.repeat(np.repeat(np.random.default_rng(0).integers(-60, 60, (64, 64)), 8, 0), 8, 1).astype(np.int8)
    return loud, quiet


def tempered(strength: float, shrink: int = 4) -> float:
    """A strength, brought a part of the way to what is usual while a surface is shrunk or after, and made a little milder."""
    small = exemplars._USUAL_SMALL, exemplars._BACK_SMALL, exemplars._STRONGER_SMALL
    usual, back, stronger = small if shrink > 1 else (exemplars._USUAL, exemplars._BACK, exemplars._STRONGER)
    return milder(shrink) * strength * min((usual / strength) ** back, stronger)


def milder(shrink: int) -> float:
    """What is left of a strength in the end."""
    return exemplars._MILDER * shrink**exemplars._MILDER_SMALL


def finer(plane: np.ndarray) -> float:
    """Contrast of what the means of 4 x 4 pixels do not hold."""
    cells = plane.reshape(plane.shape[0] // 4, 4, -1, 4)
    return float((cells - cells.mean((1, 3), keepdims=True)).std())


def test_a_surface_is_stronger_where_the_picture_is_rough(tmp_path: Path) -> None:
    pocket = Pocket(
        weights=str(weights(tmp_path / "pocket.safetensors")), exemplars=str(shelf(tmp_path / "exemplars.zip")), threads=1, precision="f32"
    )
    picture = np.full((64, 128, 3), 0.5, np.float32)
    picture[:, 64:] += np.float32(0.08) * np.random.default_rng(5).normal(size=(64, 64, 1)).astype(np.float32)
    surfaces, rough, light = pocket._shelf, roughness(picture), lightness(picture)
    gains = [surfaces.stronger(1, scale, rough, light) for scale in (4.0, 16.0, 64.0, 256.0)]
    assert (gains[0] == 1).all()
    assert gains[1][:, 80:].min() > gains[2][:, 80:].min()
    assert all(gain[:, 80:].min() > gain[:, :48].max() for gain in gains[1:3])
    for size, gain in ((16, gains[1]), (4, gains[2])):  # in smooth places as photographed, brought half of the way to what is usual
        own = np.hypot(surfaces._contrast(1, size)[1], exemplars._GRAIN * surfaces._contrast(1, 1)[1]) * surfaces._strength(1, size)
        made = (own * shading(light[:, :48])).ravel()
        np.testing.assert_allclose(gain[:, :48].ravel(), [tempered(float(one), size) / float(one) for one in made], rtol=1e-4)
    assert max(gain.max() for gain in gains) <= exemplars._LIFT * exemplars._STRONGER
    # As it is, at 256x, this one is louder than real surfaces: it is weakened as far as that, and a part of the way to what is usual.
    loud = surfaces._contrast(1, 1)[1] * surfaces._strength(1, 1) * shading(light[:, :48])
    np.testing.assert_allclose(gains[3][:, :48], tempered(exemplars._LOUD, shrink=1) / loud, rtol=1e-5)
    assert (gains[3] >= tempered(exemplars._LOUD, shrink=1) / exemplars._LOUD * exemplars._LEAST_LOUD).all()
    assert tempered(exemplars._LOUD) < tempered(exemplars._LOUD, shrink=1) < exemplars._LOUD
    backbone = Pocket(threads=1)
    made = [backbone.upscale_at(picture, "rock", noise=NoiseField(seed, 16.0), origin=(0, 0)) for seed in (1, 2)]
    spread = (made[0] - made[1]).std(axis=(0, 2)).reshape(8, 64).mean(1)
    assert spread[5:].min() > 1.3 * spread[:3].max()


def test_what_a_surface_adds_is_as_strong_as_the_picture_is_rough_whatever_its_own_contrast(tmp_path: Path) -> None:
    loud, _ = loud_and_quiet(tmp_path)
    for unit in (0.1, 0.05):
        loud._units, loud._kept, loud._contrasts = (unit,), {}, {}
        for light in (0.3, 0.6):
            level, rough = np.full((4, 4), light, np.float32), np.full((4, 4), 0.06, np.float32)
            gain = loud.stronger(0, 64.0, rough, level)[0, 0]
            lent = finer(loud.seen(0, 5, (0, 0, 512, 512), 64.0)) * float(shading(level)[0, 0])
            most = exemplars._LIFT ** min(1.0, float(loud.texture(0).std()) / exemplars._FULL)
            wanted = exemplars._ROUGH * 4**exemplars._RISING * 0.06
            assert lent * gain == pytest.approx(tempered(min(wanted, most * lent)), rel=0.1)


def test_the_shading_that_is_reckoned_with_is_the_networks(tmp_path: Path) -> None:
    file = weights(tmp_path / "pocket.safetensors")
    shape, tensors = read(file)
    silent = ("leave.weight", "leave.bias", "borrow.weight")
    tensors |= {name: np.zeros_like(tensors[name]) for name in silent} | {"borrow.bias": np.full(3, SHARE, np.float32)}
    network = load(shape, tensors, "f32", 1)
    for light in (0.0, 0.2, 0.5, 0.8, 1.0):
        planes = [np.zeros((1, count, 8 << level, 8 << level), np.float32) for level, count in enumerate(shape.planes)]
        planes[2][:, 0] = 0.25 * FIELD_GAIN
        lent = network([np.full((1, 3, 8, 8), light, np.float32), np.zeros((1, shape.words + 1), np.float32), *planes])
        np.testing.assert_allclose(lent, 0.25 * shading(np.float32(light)), rtol=1e-4)


def test_no_surface_is_louder_than_real_ones_nor_than_there_is_room_for(tmp_path: Path) -> None:
    loud, _ = loud_and_quiet(tmp_path)
    rough = np.full((4, 4), 0.3, np.float32)
    for scale in (16.0, 64.0):
        lent = finer(loud.seen(0, 5, (0, 0, 512, 512), scale))
        strengths = []
        for light in (0.02, 0.1, 0.5, 0.98):
            level = np.full((4, 4), light, np.float32)
            made = lent * float(shading(level)[0, 0])
            gain = float(loud.stronger(0, scale, rough, level).max())
            strengths.append(made * gain)
            least = exemplars._LEAST * milder(64 // int(scale) * 4)
            assert gain == pytest.approx(least) or made * gain < 1.1 * (0.5 * min(light, 1 - light) + 0.008)
            assert made * gain < 1.1 * tempered(max(exemplars._LOUD, exemplars._LEAST_LOUD * made))
        assert strengths[0] < 0.5 * strengths[2]


def test_a_place_twice_as_rough_gets_a_surface_less_than_twice_as_strong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplars, "_LIFT", 10.0)
    monkeypatch.setattr(exemplars, "_USUAL_SMALL", 0.02)  # what is faint is not made stronger
    loud, _ = loud_and_quiet(tmp_path)
    loud._units, light = (0.2,), np.full((4, 4), 0.2, np.float32)

    def strength(rough: float) -> float:
        return float(loud.stronger(0, 64.0, np.full((4, 4), rough, np.float32), light)[0, 0])

    least = finer(loud.seen(0, 5, (0, 0, 512, 512), 64.0)) * float(shading(light)[0, 0]) / exemplars._ROUGH / 4**exemplars._RISING
    assert strength(3 * least) / strength(1.5 * least) == pytest.approx(2**0.5, rel=0.02)
    # In smoother places it is as photographed, and a little milder.
    monkeypatch.setattr(exemplars, "_USUAL_SMALL", 0.065)
    assert strength(0.0) == strength(0.9 * least) == pytest.approx(milder(4))


def test_a_quiet_surface_stays_as_it_is(tmp_path: Path) -> None:
    rough, light = np.full((4, 4), 0.2, np.float32), np.full((4, 4), 0.5, np.float32)
    assert (loud_and_quiet(tmp_path)[1].stronger(0, 16.0, rough, light) == 1).all()


@pytest.mark.parametrize(("scale", "shrink"), [(64.0, 4), (256.0, 1)])
def test_a_drawn_surface_is_as_strong_as_surfaces_usually_are(scale: float, shrink: int) -> None:
    cells = np.random.default_rng(0).integers(-60, 60, (256 // shrink, 256 // shrink))
    texture = np.repeat(np.repeat(cells, 2 * shrink, 0), 2 * shrink, 1).astype(np.int8)
    row = {"file": "x.png", "unit": 0.5, "words": [1.0] * 384, "ordered": False, "name": "a", "materials": ["fur"]}
    light = np.full((4, 4), 0.5, np.float32)
    strengths = {}
    for source in ("a package", "drawn by chainzoom"):
        for rough in (0.0, 0.2):
            fur = Exemplars([row | {"source": source}], [b""])
            fur._read[0] = texture
            gain = float(fur.stronger(0, scale, np.full((4, 4), rough, np.float32), light)[0, 0])
            strengths[source, rough] = gain * finer(fur.seen(0, 5, (0, 0, 512, 512), scale)) * float(shading(light)[0, 0])
    usual = milder(shrink) * (exemplars._USUAL_SMALL if shrink > 1 else exemplars._USUAL)
    drawn = [strengths["drawn by chainzoom", rough] for rough in (0.0, 0.2)]
    assert drawn == pytest.approx([usual, usual], rel=0.1)
    assert strengths["a package", 0.2] > 1.1 * usual


def test_contrast_does_not_grow_from_step_to_step() -> None:
    rng = np.random.default_rng(3)
    grain = sum(resize(rng.standard_normal((64 >> k, 64 >> k)).astype(np.float32), (64, 64)) for k in range(4))
    photo = clip(np.repeat(0.45 + 0.015 * np.asarray(grain)[..., None], 3, axis=2).astype(np.float32))
    shipped, finest = Pocket(threads=1), []
    for words in ("rock", "brick", "tabby fur", "grass", "sand", "wood"):
        for seed in (0, 1):
            picture, corner = photo, 0
            for scale in (4.0, 16.0, 64.0, 256.0):
                made = shipped.upscale_at(picture, words, noise=NoiseField(seed, scale), origin=(corner, corner))
                cells = made.mean(axis=2).reshape(128, 2, 128, 2)
                finest.append(float((cells - cells.mean((1, 3), keepdims=True)).std()))
                picture, corner = made[96:160, 96:160], 4 * corner + 96
    steps = np.array(finest).reshape(-1, 4).mean(0)
    assert steps[1:].max() < 1.2 * steps[1]  # from 16x on, where surfaces are lent; 1.32 before they were made a little milder
    assert steps[1:].min() > 0.8 * steps[1]


def test_a_surface_is_milder_where_colours_are_vivid(tmp_path: Path) -> None:
    loud, _ = loud_and_quiet(tmp_path)
    rough, light = np.full((4, 4), 0.3, np.float32), np.full((4, 4), 0.3, np.float32)
    grey, mild, vivid = (float(loud.stronger(0, 64.0, rough, light, swing)[0, 0]) for swing in (1.0, 1.15, 1.3))
    assert grey == float(loud.stronger(0, 64.0, rough, light)[0, 0])
    assert (mild, vivid) == pytest.approx((grey / 1.15, grey / 1.3), rel=1e-3)  # colours swing as far as a grey would
