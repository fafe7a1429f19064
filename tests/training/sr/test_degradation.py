"""The Real-ESRGAN degradation, stage by stage."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image as PILImage

torch = pytest.importorskip("torch")

from chainzoom.images import psnr
from chainzoom.images import resize as pillow_resize
from chainzoom.training.sr import kernels
from chainzoom.training.sr.degradation import (
    FINAL_SINC,
    FIRST,
    SECOND,
    Round,
    add_noise,
    blur,
    degrade,
    poisson_noise,
    resize,
    resize_factor,
)
from chainzoom.training.sr.jpeg import jpeg
from tests.conftest import natural


def tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def test_constants_are_the_published_ones() -> None:
    assert Round(1.0, (0.2, 0.7, 0.1), (0.15, 1.5), 0.5, (1, 30), (0.05, 3), 0.4, (30, 95), (0.2, 3.0)) == FIRST
    assert Round(0.8, (0.3, 0.4, 0.3), (0.3, 1.2), 0.5, (1, 25), (0.05, 2.5), 0.4, (30, 95), (0.2, 1.5)) == SECOND
    assert FIRST.shapes == (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    assert (FIRST.sinc_probability, FIRST.beta_generalized, FIRST.beta_plateau, FINAL_SINC) == (0.1, (0.5, 4.0), (1.0, 2.0), 0.8)


# Kernels


def test_gaussian_has_its_width_and_direction() -> None:
    kernel = kernels.gaussian(21, 1.5, 1.5, 0.3).astype(np.float64)
    axis = np.arange(21) - 10
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel.sum(0) * axis**2).sum() == pytest.approx(1.5**2, rel=1e-3)
    long = kernels.gaussian(21, 3.0, 0.8, math.pi / 4)
    assert long[14, 14] > 10 * long[14, 6]
    assert np.allclose(kernels.gaussian(21, 2, 2, 0, 1.0), kernels.gaussian(21, 2, 2, 1.0, 1.0), atol=1e-7)


def test_generalised_and_plateau_shapes() -> None:
    plain, flat, steep = (kernels.gaussian(21, 2, 2, 0, beta) for beta in (1.0, 4.0, 0.5))
    assert flat[10, 11] / flat[10, 10] > plain[10, 11] / plain[10, 10] > steep[10, 11] / steep[10, 10]
    plateau = kernels.gaussian(21, 2, 2, 0, 1.0, plateau=True)
    assert plateau[10, 12] / plateau[10, 10] == pytest.approx(0.5)


def test_bessel_function() -> None:
    x = np.array([0.0, 1.0, 3.8317059702075125, 10.0])
    known = [0.0, 0.4400505857449335, 0.0, 0.04347274616886144]
    assert np.abs(kernels.bessel_j1(x) - known).max() < 1e-12


@pytest.mark.parametrize("cutoff", [math.pi / 3, 2.0])
def test_sinc_passes_what_is_below_the_cutoff(cutoff: float) -> None:
    response = np.abs(np.fft.fft2(kernels.sinc(21, cutoff), (256, 256)))[0]
    frequency = np.arange(129) * 2 * math.pi / 256
    assert np.abs(response[:129][frequency < 0.6 * cutoff] - 1).max() < 0.2
    assert response[:129][frequency > 1.4 * cutoff].max() < 0.15


def test_kernels_are_drawn_with_their_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(kernels, "sinc", lambda size, cutoff: seen.append("sinc") or np.ones((size, size)))

    def note(size, sx, sy, theta, beta=1.0, *, plateau=False):
        assert 7 <= size <= 21
        assert size % 2
        assert 0.2 <= sx <= 3.0
        assert 0.5 <= beta <= 4.0
        seen.append(f"{'plateau' if plateau else 'plain' if beta == 1 else 'generalized'}_{'iso' if theta == 0 else 'aniso'}")
        return np.ones((size, size))

    monkeypatch.setattr(kernels, "gaussian", note)
    rng = np.random.default_rng(0)
    count = 20000
    for _ in range(count):
        assert kernels.random_blur(rng, FIRST.shapes, 0.1, (0.2, 3.0), (0.5, 4.0), (1.0, 2.0)).shape == (21, 21)
    names = ["plain_iso", "plain_aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
    shares = {name: seen.count(name) / count for name in names}
    for name, probability in zip(names, FIRST.shapes, strict=True):
        assert shares[name] == pytest.approx(0.9 * probability, abs=0.012)
    assert seen.count("sinc") / count == pytest.approx(0.1, abs=0.01)


def test_the_final_filter_is_mostly_a_sinc() -> None:
    rng = np.random.default_rng(1)
    pulses = sum(np.array_equal(kernels.random_final_sinc(rng, FINAL_SINC), kernels.pulse()) for _ in range(300))
    assert 35 < pulses < 90


def test_blur_convolves_each_channel() -> None:
    picture = tensor(natural(40, 48))[None]
    assert torch.allclose(blur(picture, kernels.pulse()), picture, atol=1e-7)
    dot = torch.zeros(1, 3, 41, 41)
    dot[0, 1, 20, 20] = 1
    kernel = kernels.padded(kernels.gaussian(9, 2.0, 1.0, 0.0))
    answer = blur(dot, kernel)
    assert np.allclose(answer[0, 1, 10:31, 10:31].numpy(), kernel, atol=1e-6)
    assert float(answer[0, 0].abs().max()) == 0


# Resizing, noise, JPEG


@pytest.mark.parametrize("constants", [FIRST, SECOND], ids=["first", "second"])
def test_resize_factors(constants: Round) -> None:
    rng = np.random.default_rng(0)
    factors = np.array([resize_factor(rng, constants) for _ in range(20000)])
    shares = [(factors > 1).mean(), (factors < 1).mean(), (factors == 1).mean()]
    assert np.allclose(shares, constants.resize, atol=0.015)
    low, high = constants.resize_range
    assert low <= factors.min() < low + 0.02
    assert high - 0.02 < factors.max() <= high


def test_resize_uses_all_three_kernels() -> None:
    picture, rng = tensor(natural(32, 32))[None], np.random.default_rng(0)
    assert len({resize(picture, (20, 24), rng).numpy().tobytes() for _ in range(30)}) == 3


def test_gaussian_noise_has_its_level() -> None:
    only = Round(1, (0, 0, 1), (1, 1), 1.0, (10, 10), (1, 1), 0.0, (30, 95), (1, 1))
    grey = Round(1, (0, 0, 1), (1, 1), 1.0, (10, 10), (1, 1), 1.0, (30, 95), (1, 1))
    flat = torch.full((1, 3, 128, 128), 0.5)
    coloured = add_noise(flat, only, np.random.default_rng(0), torch.Generator().manual_seed(0)) - flat
    assert float(coloured.std()) == pytest.approx(10 / 255, rel=0.03)
    assert not torch.equal(coloured[:, 0], coloured[:, 1])
    same = add_noise(flat, grey, np.random.default_rng(0), torch.Generator().manual_seed(0)) - flat
    assert torch.equal(same[:, 0], same[:, 2])


def test_poisson_noise_grows_with_brightness() -> None:
    ramp = torch.linspace(0, 1, 256).view(1, 1, 1, 256).expand(1, 3, 256, 256)
    noise = poisson_noise(ramp, torch.Generator().manual_seed(0), grey=False)
    variance = noise[0].var(dim=(0, 1))
    assert float(variance[0]) == 0
    # 256 values: 256 photons for white, so the variance is brightness / 256.
    assert float(variance[120:136].mean()) == pytest.approx(0.5 / 256, rel=0.05)
    assert float(variance[240:].mean()) == pytest.approx(0.97 / 256, rel=0.05)
    assert poisson_noise(ramp, torch.Generator().manual_seed(0), grey=True).shape[1] == 1


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_what_a_file_would_do(quality: int) -> None:
    image = natural(80, 104)
    file = io.BytesIO()
    PILImage.fromarray(np.rint(image * 255).astype(np.uint8)).save(file, "JPEG", quality=quality, subsampling=2)
    real = np.asarray(PILImage.open(file)).astype(np.float32) / 255
    ours = jpeg(tensor(image)[None], quality)[0].numpy().transpose(1, 2, 0)
    assert psnr(ours, real) > psnr(image, real) + 2
    assert psnr(ours, real) > 40


# The whole


@pytest.mark.parametrize("kind", ["realesrgan", "bicubic"])
def test_shape_range_and_eight_bits(kind: str) -> None:
    picture = tensor(natural(64, 96))
    for seed in range(6):
        low = degrade(picture, kind, seed)
        assert low.shape == picture.shape
        assert float(low.min()) >= 0
        assert float(low.max()) <= 1
        assert torch.equal((low * 255).round() / 255, low)


def test_the_seed_alone_decides() -> None:
    picture = tensor(natural(64, 64))
    first = degrade(picture, "realesrgan", 7)
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(first, degrade(picture, "realesrgan", 7))
    assert not torch.equal(first, degrade(picture, "realesrgan", 8))


def test_the_4x_stage_is_the_chains_own_step() -> None:
    image = natural(64, 96)
    small = np.rint(np.clip(pillow_resize(image, (24, 16)), 0, 1) * 255).astype(np.float32) / 255
    expected = np.clip(pillow_resize(small, (96, 64)), 0, 1)
    assert psnr(degrade(tensor(image), "bicubic", 0).numpy().transpose(1, 2, 0), expected) > 55
