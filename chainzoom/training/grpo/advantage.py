"""What abstentions do to a group's rewards: nothing.

TRL adds the rewards of an answer up and lets a missing one count as 0, so an answer whose critic abstained would lose to every answer that
it scored. Here a missing value is replaced by the mean of the others in its group: it moves the answer neither up nor down, while its
other rewards still count. Where nobody in the group has a value, the reward is left out for the whole group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def without_abstentions(table: Tensor, group: int) -> Tensor:
    """(answers, rewards), answers of one pair side by side, NaN for abstentions -> the same, filled as above."""
    grouped = table.view(-1, group, table.shape[1])
    means = torch.nanmean(grouped, dim=1, keepdim=True).expand_as(grouped)
    return torch.where(torch.isnan(grouped), means, grouped).view_as(table)


def summary(table: Tensor, names: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    """Figures of one step from the table with its NaNs: the mean and the abstentions of each reward, and the mean total.

    The total is over answers that every reward of some weight has spoken on.
    """
    figures: dict[str, float] = {}
    for column, name in enumerate(names):
        said = ~torch.isnan(table[:, column])
        figures[f"abstained/{name}"] = 1 - said.float().mean().item()
        if said.any():
            figures[f"reward/{name}"] = table[said, column].mean().item()
    counted = [column for column, weight in enumerate(weights) if weight]
    whole = ~torch.isnan(table[:, counted]).any(dim=1)
    if whole.any():
        total = table[whole][:, counted] @ torch.tensor([weights[column] for column in counted], device=table.device)
        figures["reward/total"] = total.mean().item()
    return figures
