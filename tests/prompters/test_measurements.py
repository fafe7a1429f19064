from __future__ import annotations

import numpy as np
import pytest

from chainzoom.images import Image, resize
from chainzoom.prompters.measurements import COLOURS, Tags, colours, detail, lightness, measure, oklab


def natural(size: int = 256, seed: int = 0) -> Image:
    """Noise with the falling spectrum of photographs."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    plane = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / f).real
    plane = 0.5 + 0.12 * plane / plane.std()
    return np.repeat(np.clip(plane, 0, 1).astype(np.float32)[..., None], 3, axis=2)


def flat(rgb: tuple[float, float, float], size: int = 64) -> Image:
    return np.broadcast_to(np.array(rgb, np.float32), (size, size, 3)).copy()


def said(image: Image) -> dict[str, float]:
    plane = lightness(image)
    return dict(measure(image, plane, detail(plane)))


def test_oklab_of_known_colours() -> None:
    # published by Ottosson for sRGB white and red
    np.testing.assert_allclose(oklab(np.array([1.0, 1.0, 1.0])), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(oklab(np.array([1.0, 0.0, 0.0])), [0.628, 0.225, 0.126], atol=1e-3)


@pytest.mark.parametrize("name", COLOURS)
def test_each_colour_has_its_own_name(name: str) -> None:
    r, g, b = COLOURS[name]
    assert colours(flat((r / 255, g / 255, b / 255))) == [(name, 1.0)]


def test_colours_come_by_their_share() -> None:
    image = flat((0.1, 0.1, 0.1))
    image[:, :48] = (0.8, 0.1, 0.12)
    found = colours(image)
    assert [name for name, _ in found] == ["red", "black"]
    assert found[0][1] == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("blur", [1, 2, 4, 8])
def test_detail_counts_the_pixels_that_are_there(blur: int) -> None:
    image = natural()
    small = resize(image, (256 // blur, 256 // blur), "bicubic")
    measured = detail(lightness(resize(small, (256, 256), "bicubic")))
    assert measured.pixels == pytest.approx(256 / blur, rel=0.25)


@pytest.mark.parametrize(("blur", "word"), [(1, "sharp"), (2, "soft"), (8, "blurred")])
def test_sharpness(blur: int, word: str) -> None:
    image = natural()
    shrunk = resize(image, (256 // blur, 256 // blur), "bicubic")
    words = said(np.clip(resize(shrunk, (256, 256), "bicubic"), 0, 1))
    assert {"sharp", "soft", "blurred"} & set(words) == {word}
    assert words[word] > 0.5


def test_a_blank_picture_carries_nothing() -> None:
    measured = detail(lightness(flat((0.5, 0.5, 0.5), 256)))
    assert measured.pixels < 24
    assert "smooth" not in said(flat((0.5, 0.5, 0.5), 256))  # the blur explains it


@pytest.mark.parametrize(
    ("angle", "word"), [(0, "vertical stripes"), (90, "horizontal stripes"), (45, "diagonal stripes"), (135, "diagonal stripes")]
)
def test_stripes(angle: float, word: str) -> None:
    y, x = np.mgrid[:128, :128]
    turned = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    wave = (0.5 + 0.3 * np.sin(turned * 0.7)).astype(np.float32)
    words = said(np.repeat(wave[..., None], 3, axis=2))
    assert words[word] > 0.5


def stripes_in(image: Image) -> list[str]:
    return [word for word in said(image) if "stripes" in word]


def test_shading_and_single_edges_are_no_stripes() -> None:
    ramp = np.repeat(np.tile(np.linspace(0.1, 0.9, 128, dtype=np.float32), (128, 1))[..., None], 3, axis=2)
    edge = flat((0.2, 0.2, 0.2), 128)
    edge[:, 64:] = 0.8
    assert stripes_in(ramp) == []
    assert stripes_in(edge) == []
    assert stripes_in(natural()) == []


def test_texture_contrast_and_brightness() -> None:
    rng = np.random.default_rng(1)
    grain = np.clip(0.5 + 0.08 * rng.standard_normal((128, 128, 1)), 0, 1).astype(np.float32).repeat(3, axis=2)
    assert said(grain)["fine-grained"] > 0.5
    checks = np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((8, 8))).astype(np.float32)[..., None].repeat(3, axis=2)
    assert {"rough", "high contrast"} <= set(said(checks))
    assert {"smooth", "low contrast"} <= set(said(np.clip(0.5 + 0.08 * (grain - 0.5), 0, 1).astype(np.float32)))
    assert "bright" in said(flat((0.95, 0.95, 0.95)))
    assert "dark" in said(flat((0.02, 0.02, 0.02)))


def test_confidences_are_ordered_and_bounded() -> None:
    image = natural(seed=3)
    plane = lightness(image)
    tags: Tags = measure(image, plane, detail(plane))
    values = [certain for _, certain in tags]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (15, 300), (17, 16)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    assert said(image)
