"""The kernel distance: its value by hand, no bias, groups, and what its interval says."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.kid import kid, kid_interval


def by_hand(a: np.ndarray, b: np.ndarray) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    return float(within[0] + within[1] - 2 * np.mean([k(x, y) for x in a for y in b]))


def test_value_by_hand() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((5, 7)), random.standard_normal((4, 7)) + 0.5
    assert kid(a, b) == pytest.approx(by_hand(a, b), rel=1e-10)


def test_no_bias_for_equal_kinds_and_grows_with_the_gap() -> None:
    random = np.random.default_rng(1)
    same = [kid(random.standard_normal((30, 16)), random.standard_normal((30, 16))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    assert min(same) < 0 < max(same)
    fixed = random.standard_normal((60, 16))
    gaps = [kid(fixed, random.standard_normal((60, 16)) + shift) for shift in (0.0, 0.5, 1.0)]
    assert gaps[0] < gaps[1] < gaps[2]


def test_patches_of_one_picture_are_no_independent_samples() -> None:
    random = np.random.default_rng(2)

    def pictures(count: int) -> tuple[np.ndarray, list[int]]:
        middle = random.standard_normal((count, 16))
        rows = np.repeat(middle, 6, axis=0) + 0.1 * random.standard_normal((count * 6, 16))
        return rows, [k // 6 for k in range(count * 6)]

    grouped, plain = [], []
    for _ in range(60):
        (a, ga), (b, gb) = pictures(8), pictures(8)
        grouped.append(kid(a, b, ga, gb))
        plain.append(kid(a, b))
    error = np.std(grouped) / np.sqrt(60)
    assert abs(np.mean(grouped)) < 3 * error
    assert np.mean(plain) > 5 * error


def test_interval_holds_the_value_and_narrows_with_pictures() -> None:
    random = np.random.default_rng(3)
    few = kid_interval(random.standard_normal((10, 8)), random.standard_normal((10, 8)) + 1, rounds=300)
    many = kid_interval(random.standard_normal((100, 8)), random.standard_normal((100, 8)) + 1, rounds=300)
    assert few.low < few.mean < few.high
    assert few.count == 10
    assert many.low > 0
    assert many.high - many.low < (few.high - few.low) / 2


def test_same_arguments_same_interval() -> None:
    random = np.random.default_rng(4)
    a, b = random.standard_normal((6, 8)), random.standard_normal((6, 8))
    assert kid_interval(a, b, rounds=50) == kid_interval(a, b, rounds=50)
    assert kid_interval(a, b, rounds=50) != kid_interval(a, b, rounds=50, seed=1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(OptionError, match="takes features"):
        kid(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(OptionError, match="two groups on each side; got 1 and 3"):
        kid(np.zeros((3, 4)), np.zeros((3, 4)), ["a"] * 3)
    with pytest.raises(OptionError, match="3 rows, 2 names"):
        kid(np.zeros((3, 4)), np.zeros((3, 4)), ["a", "b"])


def test_a_group_on_both_sides_is_not_compared_with_itself() -> None:
    random = np.random.default_rng(5)
    a, b = random.standard_normal((4, 6)), random.standard_normal((4, 6))
    names = ["p", "p", "q", "q"]
    far = np.concatenate([a[:2] + 3, b[2:]])
    mine = np.concatenate([a[:2] + 3, a[2:]])
    # Between the sets only p with q and q with p are left.
    k = [(mine[i], far[j]) for i in range(4) for j in range(4) if names[i] != names[j]]
    between = np.mean([(x @ y / 6 + 1) ** 3 for x, y in k])
    within = [np.mean([(s[i] @ s[j] / 6 + 1) ** 3 for i in range(4) for j in range(4) if names[i] != names[j]]) for s in (mine, far)]
    assert kid(mine, far, names, names) == pytest.approx(sum(within) - 2 * between)
