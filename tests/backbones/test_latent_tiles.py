"""Windows over a latent: they cover it, blend without seams, and leave a small one alone."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from chainzoom.backbones.latent_tiles import gaussian, in_windows, starts
from chainzoom.backbones.torch_common import pad_to_multiple, seeded_noise


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"), [(64, 64, 16, [0]), (40, 64, 16, [0]), (65, 64, 16, [0, 1]), (160, 64, 16, [0, 48, 96])]
)
def test_starts(length: int, window: int, overlap: int, expected: list[int]) -> None:
    assert starts(length, window, overlap) == expected


@pytest.mark.parametrize("length", range(60, 200, 7))
def test_every_pixel_is_covered_and_neighbours_share(length: int) -> None:
    found = starts(length, 64, 16)
    covered = {pixel for start in found for pixel in range(start, min(start + 64, length))}
    assert covered == set(range(length))
    assert all(b - a <= 48 for a, b in pairwise(found))


def test_weights_are_largest_in_the_middle() -> None:
    weights = gaussian(8, 16)
    assert weights.shape == (8, 16)
    assert (weights > 0).all()
    assert torch.equal(weights, weights.flip(0).flip(1))
    assert weights[4, 8] == weights.max()


def test_a_pointwise_step_is_unchanged_by_windows() -> None:
    latent = torch.randn(2, 3, 20, 37)
    calls = []

    def double(part: torch.Tensor) -> torch.Tensor:
        calls.append(part.shape)
        return part * 2

    assert (in_windows(latent, 16, 4, double) - latent * 2).abs().max() < 1e-5
    assert set(calls) == {(2, 3, 16, 16)}
    assert torch.equal(in_windows(latent, 40, 4, double), latent * 2)


def test_windows_that_disagree_are_blended_smoothly() -> None:
    """Each window answers its own number; a hard cut would step by 1."""
    numbers = iter(range(100))
    answer = in_windows(torch.zeros(1, 1, 8, 112), 64, 16, lambda part: torch.full_like(part, float(next(numbers))))
    steps = answer[0, 0, 4].diff()
    assert answer.max() == 1
    assert steps.abs().max() < 0.35
    assert (steps >= 0).all()


def test_padding_mirrors_and_repeats_the_edge_when_too_small() -> None:
    row = torch.arange(10.0).reshape(1, 1, 1, 10).expand(1, 1, 10, 10)
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [*range(10), 8, 7, 6, 5, 4, 3]
    small = pad_to_multiple(torch.arange(3.0).reshape(1, 1, 1, 3), 8)
    assert small.shape == (1, 1, 8, 8)
    assert small[0, 0, 7].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert pad_to_multiple(row[..., :8, :8], 8).shape == (1, 1, 8, 8)


def test_noise_depends_on_its_own_seed_only() -> None:
    together, alone = seeded_noise((2, 3), [5, 6]), seeded_noise((2, 3), [6])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
