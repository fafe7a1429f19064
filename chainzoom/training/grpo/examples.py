"""Looking at the answers: the validation pairs asked greedily, as the ``vlm`` prompter does, scored, and set side by side."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from chainzoom.atomic import write_bytes
from chainzoom.prompters.vlm import VLM
from chainzoom.prompters.vlm_loading import Loaded
from chainzoom.training.grpo.critics import Weighted
from chainzoom.training.grpo.pairs import Pair
from chainzoom.training.grpo.rewards import Sample, checked

BEFORE, PAGE = "before.json", "examples.md"


@dataclass(frozen=True, slots=True)
class Answered:
    """A validation pair's answer with its rewards (None: abstained) and the figures that they left."""

    text: str
    rewards: dict[str, float | None]
    figures: dict[str, float]

    def total(self, rewards: Sequence[Weighted]) -> float | None:
        """The weighted sum; None where a reward of some weight abstained."""
        values = [(one.weight, self.rewards[one.name]) for one in rewards if one.weight]
        return None if any(value is None for _, value in values) else sum(weight * (value or 0.0) for weight, value in values)


def ask(loaded: Loaded, pairs: Sequence[Pair], tokens: int) -> list[str]:
    """What the model says now to each pair, the likeliest words. Draws no random number and leaves the model's mode as it was."""
    training = loaded.model.training
    loaded.model.eval()
    try:
        asker = VLM(loaded, None, max_new_tokens=tokens, batch_size=min(8, len(pairs)), memory="fast")
        return [answer.text for answer in asker.answers([pair.request() for pair in pairs])]
    finally:
        loaded.model.train(training)


def judged(texts: Sequence[str], pairs: Sequence[Pair], rewards: Sequence[Weighted]) -> list[Answered]:
    """The answers with all their rewards. Raises RewardError."""
    samples = [Sample(text, pair) for text, pair in zip(texts, pairs, strict=True)]
    columns = {one.name: checked(one.name, one.function, samples) for one in rewards}
    return [
        Answered(sample.text, {name: values[row] for name, values in columns.items()}, dict(sample.figures))
        for row, sample in enumerate(samples)
    ]


def means(answered: Sequence[Answered], rewards: Sequence[Weighted]) -> dict[str, float]:
    """Figures for the log: mean of each reward over those that were given, share of abstentions, mean total, mean of what rewards left."""
    found: dict[str, list[float]] = {}
    for one in answered:
        total = one.total(rewards)
        given = {f"reward/{name}": value for name, value in one.rewards.items()} | {"reward/total": total}
        for name, value in given.items():
            found.setdefault(f"validation/{name}", []).extend([] if value is None else [value])
        for name, value in one.figures.items():
            found.setdefault(f"validation/figure/{name}", []).append(value)
    figures = {name: sum(values) / len(values) for name, values in found.items() if values}
    for reward in rewards:
        missing = sum(one.rewards[reward.name] is None for one in answered) / len(answered)
        figures[f"validation/abstained/{reward.name}"] = missing
    return figures


def keep_before(folder: Path, answered: Sequence[Answered], pairs: Sequence[Pair]) -> None:
    """Keep the untrained model's answers and the pictures of the pairs, so that a resumed run compares with the same."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        for name, pixels in zip(("parent", "crop"), pair.images, strict=True):
            PILImage.fromarray(pixels).save(pictures / f"{number:02d}-{name}.jpg", quality=90)
    rows = [{"text": one.text, "rewards": one.rewards, "figures": one.figures} for one in answered]
    write_bytes(folder / BEFORE, json.dumps(rows, ensure_ascii=False, indent=1).encode())


def read_before(folder: Path) -> list[Answered]:
    """What ``keep_before`` kept."""
    return [Answered(**row) for row in json.loads((folder / BEFORE).read_text(encoding="utf-8"))]


def write_page(folder: Path, step: int, before: Sequence[Answered], after: Sequence[Answered], pairs: Sequence[Pair]) -> None:
    """``examples.md``: for each pair its pictures and both answers with their rewards."""
    lines = [
        "# Examples before and after training",
        "",
        f"Likeliest answers to the validation pairs: untrained, and at step {step}.",
        "",
    ]
    for number, (old, new, pair) in enumerate(zip(before, after, pairs, strict=True)):
        pictures = [f'<img src="pictures/{number:02d}-{name}.jpg" width="256" alt="{name}">' for name in ("parent", "crop")]
        lines += [f"## {number + 1}. {_safe(pair.name)}", "", " ".join(pictures), "", "| | answer | rewards |", "|---|---|---|"]
        lines += [f"| {when} | {_safe(one.text) or '(empty)'} | {_numbers(one)} |" for when, one in (("before", old), ("after", new))]
        lines.append("")
    write_bytes(folder / PAGE, "\n".join(lines).encode())


def _numbers(one: Answered) -> str:
    given: dict[str, Any] = {**one.rewards, **one.figures}
    return ", ".join(f"{name} {'abstained' if value is None else f'{value:.3g}'}" for name, value in given.items())


def _safe(text: str) -> str:
    """Text of a model in a Markdown table."""
    return html.escape(" ".join(text.split())).replace("|", "&#124;").replace("`", "&#96;").replace("*", "&#42;").replace("_", "&#95;")
