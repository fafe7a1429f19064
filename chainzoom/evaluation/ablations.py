"""Ablations: one question each, asked of a preset by methods that differ in one choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainzoom.errors import OptionError
from chainzoom.evaluation.protocol import Method, method
from chainzoom.evaluation.scoring import Score

SEEDS = 4


@dataclass(frozen=True, slots=True)
class Ablation:
    """A question, the choices that answer it as (label, changes), and the scales at which the answers meet (None: those asked for)."""

    question: str
    choices: tuple[tuple[str, Mapping[str, Any]], ...]
    scales: tuple[float, ...] | None = None

    def methods(self, preset: str) -> list[Method]:
        """One method a choice."""
        return [method(preset, changes, f"{preset}: {label}") for label, changes in self.choices]


ABLATIONS: dict[str, Ablation] = {
    "recursions": Ablation(
        "How many recursions? The same scales by 4x steps, by 2x steps, and by 4x and 2x in turn.",
        (("4x steps", {"step": "4"}), ("2x steps", {"step": "2"}), ("4x and 2x steps", {"step": "4,2"})),
        (64.0, 256.0, 4096.0),
    ),
    "prompt-images": Ablation(
        "Does the prompter need the previous state beside the crop (two images), or is the crop enough (one)?",
        (("two-image prompts", {"mode": "multiscale"}), ("one-image prompts", {"mode": "recursive"})),
    ),
    "align": Ablation(
        "What does colour alignment do? Consistency is off, since it would fix the colours too.",
        tuple((f"align {how}", {"align": how, "consistency": 0.0}) for how in ("none", "adain", "wavelet")),
    ),
    "consistency": Ablation(
        "What does consistency by projection cost or give?",
        tuple((f"consistency {value:g}", {"consistency": value}) for value in (1.0, 0.5, 0.0)),
    ),
    "seeds": Ablation(
        "How far do seeds spread the figures? One method a seed; spread.csv has the spread within a picture.",
        tuple((f"seed {seed}", {"seed": seed}) for seed in range(SEEDS)),
    ),
}


def find_ablation(name: str) -> Ablation:
    """An ablation by name. Raises OptionError with the known names."""
    if name not in ABLATIONS:
        raise OptionError(f"--ablation takes one of {', '.join(ABLATIONS)}; got '{name}'")
    return ABLATIONS[name]


def spread(scores: Sequence[Score]) -> list[tuple[float, str, float, int]]:
    """How much the choice moves one picture's figure: (scale, metric, mean over pictures of the deviation between methods, pictures).

    Failed figures and pictures with fewer than two are left out.
    """
    table: dict[tuple[float, str, str], list[float]] = {}
    for score in scores:
        if not score.failed:
            table.setdefault((score.scale, score.metric, score.image), []).append(score.value)
    within: dict[tuple[float, str], list[float]] = {}
    for (scale, metric, _), values in table.items():
        if len(values) > 1:
            within.setdefault((scale, metric), []).append(float(np.std(values, ddof=1)))
    return [(scale, metric, float(np.mean(found)), len(found)) for (scale, metric), found in sorted(within.items())]
