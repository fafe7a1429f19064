"""A reward of one's own: does the picture that the words steer still match what it zoomed into?

The chain's step is made with the words of each answer, shrunk back, and compared with the crop. Words that make the backbone invent
against the pixels lose. Beside the reward, the plain figure (``consistency_db``) is logged, so that a run led by a critic can be watched
for reward hacking: give this reward weight 0 to watch only.

    [rewards.fidelity]
    function = "examples/rewards/fidelity.py:fidelity"
    weight = 0.5
    preset = "official-base-vlm"        # its backbone and its colour alignment; the words come from the model in training
    floor_db = 20.0
    ceiling_db = 45.0

A reward for satellite or medical pictures has the same form: take ``sample.text`` and ``sample.pair``, give a number or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from chainzoom.chain import Chain
from chainzoom.errors import OptionError
from chainzoom.presets import load_preset
from chainzoom.step import advance_all
from chainzoom.training.grpo.rewards import Sample


def fidelity(samples: Sequence[Sample], *, preset: str = "default", floor_db: float = 20.0, ceiling_db: float = 45.0) -> list[float | None]:
    """PSNR between the step shrunk back and what it zoomed into, before any correction: 0 at ``floor_db`` or less, 1 at ``ceiling_db``.

    All answers to a pair are tried with the pair's own seed, so that only the words differ.
    """
    if not floor_db < ceiling_db:
        raise OptionError(f"floor_db must be below ceiling_db, not {floor_db:g} and {ceiling_db:g}")
    chain = built(preset)
    works = [sample.pair.work(sample.text) for sample in samples]
    values: list[float | None] = []
    for sample, made in zip(samples, advance_all(works, chain.backbone, how=chain.settings.align, strength=0.0), strict=True):
        if made.consistency is None:
            values.append(None)
            continue
        decibels = made.consistency.raw
        sample.figures["consistency_db"] = decibels
        values.append(min(1.0, max(0.0, (decibels - floor_db) / (ceiling_db - floor_db))))
    return values


@lru_cache(maxsize=1)
def built(preset: str) -> Chain:
    """The preset's chain, loaded once. Raises OptionError for a backbone that does not listen to words."""
    chain = load_preset(preset).build()
    if not chain.backbone.facts.uses_prompt:
        raise OptionError(
            f"the backbone of the preset '{preset}' makes the same picture whatever the words, so it cannot tell answers apart; "
            "choose a preset whose backbone reads its prompt"
        )
    return chain
