from __future__ import annotations

import numpy as np
import pytest

from chainzoom.correctors.colour import adain, wavelet
from chainzoom.correctors.consistency import CAP_DB, consistency_db, project, shrink
from chainzoom.images import clip, psnr, resize
from tests.conftest import natural


def test_shrink_is_pillows_antialiased_bicubic() -> None:
    image = natural(100, 60)
    assert np.allclose(shrink(image, (15, 25)), resize(image, (15, 25), "bicubic"), atol=2e-6)


@pytest.mark.parametrize("size", [(128, 128), (33, 51)])
def test_projection_reaches_60_db_from_any_start_and_changes_no_more_than_needed(size: tuple[int, int]) -> None:
    source = natural(size[1], size[0])
    big = clip(resize(source, (size[0] * 4, size[1] * 4)))
    noise = np.random.default_rng(0).standard_normal(big.shape).astype(np.float32)
    for start in (big, clip(big + np.float32(0.05) * noise), clip(big * np.float32(0.7)), np.zeros_like(big)):
        out = project(start, source)
        assert consistency_db(out, source) >= 55
        assert out.min() >= 0
        assert out.max() <= 1
    detailed = clip(big + np.float32(0.05) * noise)
    assert psnr(project(detailed, source), detailed) > psnr(big, detailed), "the detail should survive"


def test_projection_is_where_iterative_back_projection_ends() -> None:
    """A slanted hard edge, the worst case for ringing: no more of it than the classic iteration leaves, and nearer to the truth."""
    rows, columns = np.mgrid[:128, :128]
    truth = np.where((columns + 0.4 * rows > 88)[..., None], 0.75, 0.25).repeat(3, 2).astype(np.float32)
    source = resize(truth, (32, 32))
    start = clip(resize(source, (128, 128)))
    classic = start
    for _ in range(30):
        classic = clip(classic + resize(source - resize(classic, (32, 32)), (128, 128)))
    out = project(start, source)
    assert psnr(out, classic) > 55
    assert out.max() <= classic.max() + 1 / 255
    assert out.min() >= classic.min() - 1 / 255
    assert psnr(out, truth) > psnr(start, truth)


def test_strength_is_monotone_and_zero_is_untouched() -> None:
    source = natural(32, 32)
    start = clip(resize(source, (128, 128)) * np.float32(0.9))
    figures = [consistency_db(project(start, source, strength), source) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert figures == sorted(figures)
    assert project(start, source, 0.0) is start


def test_consistent_pictures_are_left_alone_and_figures_are_capped() -> None:
    source = natural(32, 32)
    done = project(clip(resize(source, (128, 128))), source)
    assert np.array_equal(project(done, source), done)
    assert consistency_db(np.full((64, 64, 3), 0.5, np.float32), np.full((16, 16, 3), 0.5, np.float32)) == CAP_DB


def test_adain_gives_the_references_mean_and_spread() -> None:
    image, reference = natural(64, 64, 1), natural(64, 64, 2) * np.float32(0.5)
    out = adain(image, reference)
    assert np.allclose(out.mean((0, 1)), reference.mean((0, 1)), atol=1e-5)
    assert np.allclose(out.std((0, 1)), reference.std((0, 1)), atol=1e-5)


def test_wavelet_takes_low_frequencies_from_the_reference_and_high_from_the_image() -> None:
    flat = np.full((128, 128, 3), 0.3, np.float32)
    stripes = flat.copy()
    stripes[:, ::2] += np.float32(0.1)
    out = wavelet(stripes, np.full_like(flat, 0.6))
    assert out.mean() == pytest.approx(0.6, abs=1e-3)
    assert (out[:, 64] - out[:, 65]).mean() == pytest.approx(0.1, abs=1e-3)
    assert np.allclose(wavelet(stripes, stripes), stripes, atol=1e-6)


def test_wavelet_blur_is_the_dilated_121_kernel() -> None:
    impulse = np.zeros((9, 9, 3), np.float32)
    impulse[4, 4] = 1
    low = impulse - wavelet(impulse, np.zeros_like(impulse), levels=1)
    row = np.array([1, 2, 1]) / 4
    assert np.allclose(low[3:6, 3:6, 0], np.outer(row, row))


def test_threads_of_the_arithmetic_are_given_back_after_parallel_use() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    source = natural(32, 32)
    start = clip(resize(source, (128, 128)) * np.float32(0.9))
    alone = project(start, source)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: project(start, source), range(12)))
    assert threads() == before
    assert all(np.array_equal(one, alone) for one in made)


def test_where_the_range_clips_it_repeats_longer_unless_windows_must_agree() -> None:
    source = clip(natural(32, 32) * np.float32(2) - np.float32(0.5))
    harsh = clip(resize(source, (128, 128)) + np.float32(0.5) * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32))
    patient, fixed = project(harsh, source), project(harsh, source, enough_db=1000.0)
    assert consistency_db(patient, source) > consistency_db(fixed, source) + 2
    assert consistency_db(patient, source) > 45
