"""A photo's texture goes on below its pixels; its edges do not."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.backbones.continuation import REACH, Texture, continued
from chainzoom.backbones.lattice import around, drawn, mirrored, mixed
from chainzoom.backbones.noise import NoiseField
from chainzoom.correctors.consistency import consistency_db, project
from chainzoom.images import Image, clip, resize

FIELD = NoiseField(7, 4.0)


def rough(height: int, width: int, contrast: float = 0.05, seed: int = 0) -> Image:
    """Grain with about as much in every octave."""
    rng = np.random.default_rng(seed)
    plane = sum(resize(rng.standard_normal((height >> k, width >> k)).astype(np.float32), (width, height)) for k in range(3))
    return clip(np.repeat(0.5 + contrast / 1.7 * np.asarray(plane)[..., None], 3, axis=2).astype(np.float32))


def strands(length: int) -> Image:
    """Grain that is drawn out to the side over so many pixels."""
    grain = np.random.default_rng(1).standard_normal((64, 64 + length))
    grain = sum(grain[:, k : k + 64] for k in range(length)) / length**0.5
    return clip(np.repeat((0.5 + 0.05 * np.asarray(grain))[..., None], 3, axis=2).astype(np.float32))


def enlarged(image: Image) -> Image:
    return clip(resize(image, (4 * image.shape[1], 4 * image.shape[0])))


def fine(image: Image) -> float:
    """Contrast of what a quarter of the resolution cannot hold."""
    small = resize(image, (image.shape[1] // 4, image.shape[0] // 4))
    return float((image - resize(small, (image.shape[1], image.shape[0]))).std())


def test_a_texture_goes_on_as_rough_as_it_is() -> None:
    for contrast in (0.02, 0.05):
        image = rough(64, 64, contrast)
        made = project(continued(enlarged(image), image, FIELD, (0, 0)), image)
        assert 0.6 * fine(image) < fine(made) < 1.4 * fine(image)
        assert fine(made) > 2 * fine(project(enlarged(image), image))
        assert consistency_db(made, image) > 55


def test_a_texture_takes_only_a_part_of_the_room_towards_black_or_white() -> None:
    found = {}
    for light in (0.12, 0.5, 0.88):
        image = rough(64, 64, 0.05) + np.float32(light - 0.5)
        found[light] = continued(enlarged(image), image, FIELD, (0, 0)) - enlarged(image)
    strengths = {light: float(added.std()) for light, added in found.items()}
    assert strengths[0.12] == pytest.approx(strengths[0.88], rel=0.1)
    assert strengths[0.12] < 0.18 * 0.12 + 0.01 + 0.005  # its share, and what is always left
    assert strengths[0.12] < 0.8 * strengths[0.5]


def test_what_is_there_already_is_not_added_again() -> None:
    image = rough(64, 64)
    once = project(continued(enlarged(image), image, FIELD, (0, 0)), image)
    twice = project(continued(once, image, NoiseField(8, 4.0), (0, 0)), image)
    assert fine(twice) < 1.25 * fine(once)


def test_edges_and_smooth_places_stay_as_they_are() -> None:
    plain = np.full((48, 48, 3), 0.6, np.float32)
    assert continued(enlarged(plain), plain, FIELD, (0, 0)).tobytes() == enlarged(plain).tobytes()
    edge = plain.copy()
    edge[:, 24:] = 0.2
    lines = plain.copy()
    lines[::12] = 0.2
    texture = Texture.of(rough(48, 48)).strength.mean()
    for image in (edge, lines):
        assert Texture.of(image).strength.mean() < 0.02 * texture
        assert np.abs(continued(enlarged(image), image, FIELD, (0, 0)) - enlarged(image)).mean() < 0.002
    assert Texture.of(plain).share == Texture.of(edge).share == 0
    assert Texture.of(rough(48, 48)).share == 1


def test_a_texture_keeps_its_direction() -> None:
    image = strands(4)
    made = continued(enlarged(image), image, FIELD, (0, 0))[..., 0] - enlarged(image)[..., 0]
    across = [float(np.abs(np.diff(plane, axis=0)).mean() / np.abs(np.diff(plane, axis=1)).mean()) for plane in (image[..., 0], made)]
    assert across[1] > 0.9 * across[0] > 1.7  # nearly all of the direction that the texture has


def test_lines_that_run_one_way_are_left_to_the_enlargement() -> None:
    strengths = [float(Texture.of(strands(length)).strength[16:48, 16:48].mean()) for length in (1, 4, 64)]
    assert strengths[0] > strengths[1] > 0.1 * strengths[0]
    assert strengths[2] < 1e-3 * strengths[0]
    turned = Texture.of(np.ascontiguousarray(strands(4).transpose(1, 0, 2))).strength
    np.testing.assert_allclose(turned.T, Texture.of(strands(4)).strength, atol=1e-5)


def test_the_amount_and_the_seed_decide() -> None:
    image = rough(48, 48)
    plain = enlarged(image)
    full, half, none = (continued(plain, image, FIELD, (0, 0), amount) for amount in (1.0, 0.5, 0.0))
    assert none is plain
    assert np.abs(half - plain).mean() == pytest.approx(0.5 * np.abs(full - plain).mean(), rel=0.05)
    again, other = (continued(plain, image, NoiseField(seed, 4.0), (0, 0)) for seed in (7, 8))
    assert again.tobytes() == full.tobytes()
    assert np.abs(other - full).mean() > 0.5 * np.abs(full - plain).mean()


def test_windows_agree_beyond_their_edges() -> None:
    whole = rough(96, 160, seed=3)
    left, right = whole[:, :110], whole[:, 50:]
    a = continued(enlarged(left), left, FIELD, (20, 8))
    b = continued(enlarged(right), right, FIELD, (70, 8))
    middle = slice(4 * 79, 4 * 81)
    np.testing.assert_allclose(a[:, middle], b[:, middle.start - 200 : middle.stop - 200], atol=1e-4)


def test_the_strength_sees_no_farther_than_said() -> None:
    whole = rough(40, 90)
    part = Texture.of(whole[:, 20:]).strength
    np.testing.assert_allclose(part[:, REACH:], Texture.of(whole).strength[:, 20 + REACH :], rtol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 2)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    made = continued(enlarged(image), image, FIELD, (5, -3))
    assert made.shape == (4 * size[0], 4 * size[1], 3)
    assert np.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_patches_keep_the_variance_and_any_part_can_be_made_alone() -> None:
    source = np.random.default_rng(2).standard_normal((64, 80)).astype(np.float32)

    def corners(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return drawn(3, rows, columns, 64)

    rows, columns = np.arange(-40, 200), np.arange(17, 300)
    whole = mixed(source, corners, around, rows, columns, 16)
    assert 0.9 < whole.std() / source.std() < 1.1
    np.testing.assert_array_equal(mixed(source, corners, around, rows[30:90], columns[5:60], 16), whole[30:90, 5:60])


def test_a_mirrored_source() -> None:
    assert mirrored(np.arange(-4, 8), 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]
    assert mirrored(np.array([-5, 0, 9]), 1).tolist() == [0, 0, 0]
