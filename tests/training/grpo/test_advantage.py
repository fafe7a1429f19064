"""Abstentions neither help nor hurt: groups worked out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from chainzoom.training.grpo.advantage import summary, without_abstentions  # noqa: E402

NAN = math.nan


def test_a_missing_value_is_its_groups_mean() -> None:
    table = torch.tensor([[0.9, 1.0], [NAN, 0.0], [0.1, 1.0], [0.5, 0.0]])
    assert without_abstentions(table, 2).tolist() == [pytest.approx(row) for row in [[0.9, 1.0], [0.9, 0.0], [0.1, 1.0], [0.5, 0.0]]]
    assert without_abstentions(table, 4).tolist()[1] == [pytest.approx(0.5), 0.0]


def test_in_a_pair_the_other_rewards_decide() -> None:
    """Counted as 0, the abstaining answer would have lost by 0.9 - 0.5; left out, it wins by its phrase."""
    filled = without_abstentions(torch.tensor([[0.9, 0.0], [NAN, 1.0]]), 2)
    totals = filled @ torch.tensor([1.0, 0.5])
    assert (totals - totals.mean()).tolist() == pytest.approx([-0.25, 0.25])


def test_where_nobody_speaks_the_reward_is_left_out() -> None:
    filled = without_abstentions(torch.tensor([[NAN, 1.0], [NAN, 0.0]]), 2)
    assert torch.isnan(filled[:, 0]).all()
    assert filled[:, 1].tolist() == [1.0, 0.0]


def test_summary() -> None:
    table = torch.tensor([[0.8, 1.0, 7.0], [NAN, 0.0, NAN], [0.4, 1.0, 9.0], [NAN, 1.0, 8.0]])
    figures = summary(table, ["critic", "phrase", "watched"], [1.0, 0.5, 0.0])
    assert figures == pytest.approx(
        {
            "abstained/critic": 0.5,
            "abstained/phrase": 0.0,
            "abstained/watched": 0.25,
            "reward/critic": 0.6,
            "reward/phrase": 0.75,
            "reward/watched": 8.0,
            "reward/total": ((0.8 + 0.5) + (0.4 + 0.5)) / 2,
        }
    )


def test_summary_of_silence() -> None:
    figures = summary(torch.tensor([[NAN], [NAN]]), ["critic"], [1.0])
    assert figures == {"abstained/critic": 1.0}
