"""Prompts of the training pictures, from any prompter, each asked for once and kept in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from chainzoom.images import Image
from chainzoom.models import Store
from chainzoom.prompters.base import Prompter, View
from chainzoom.registry import build_prompter
from chainzoom.seeds import derive
from chainzoom.training.sr.config import Prompts
from chainzoom.training.sr.data import Sample


class PromptBook:
    """The words of a picture, by its name; what a run has asked for is in ``prompts-RANK.jsonl`` and never asked for again."""

    def __init__(self, config: Prompts, folder: Path, device: str, rank: int = 0, prompter: Prompter | None = None) -> None:
        """``prompter`` replaces the one that the configuration names (for tests and programs).

        Raises PresetError, WeightsError, MissingExtraError for a prompter that cannot be built.
        """
        self._config, self._device = config, device
        named = config.name not in ("null", "sidecar")
        self._prompter = build_prompter(config.name, self._options()) if prompter is None and named else prompter
        self._file = folder / f"prompts-{rank}.jsonl"
        self._known: dict[str, str] = {}
        for file in sorted(folder.glob("prompts-*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["text"]
                except (ValueError, KeyError, TypeError):
                    continue  # a killed run may leave half a line

    @property
    def asks(self) -> bool:
        """Whether there is a prompter to ask at all."""
        return self._prompter is not None

    def words(self, samples: Sequence[Sample]) -> list[str]:
        """The prompt of each sample."""
        if not self.asks:
            return [sample.caption for sample in samples]
        keys = [self._key(sample.name) for sample in samples]
        new = {key: sample.view for key, sample in zip(keys, samples, strict=True) if key not in self._known and sample.view is not None}
        if new:
            texts = self._describe([View(None, view, 1.0, 4.0, seed=int(key[:12], 16)) for key, view in new.items()])
            with self._file.open("a", encoding="utf-8") as file:
                for key, text in zip(new, texts, strict=True):
                    self._known[key] = text
                    file.write(json.dumps({"key": key, "text": text}) + "\n")
        return [self._known.get(key, "") for key in keys]

    def deeper(self, parents: Sequence[Image], crops: Sequence[Image], seed: int) -> list[str]:
        """The prompts of the step after: what the crops of the states show (two-image prompts, never cached)."""
        views = [View(parent, crop, 16.0, 4.0, seed=derive(seed, n)) for n, (parent, crop) in enumerate(zip(parents, crops, strict=True))]
        return self._describe(views)

    def _describe(self, views: Sequence[View]) -> list[str]:
        assert self._prompter is not None
        return [prompt.text for prompt in self._prompter.describe(views)]

    def _options(self) -> dict[str, Any]:
        options = Store().resolve_options(self._config.options)
        return options | ({"device": self._device} if options.get("device") == "auto" else {})

    def _key(self, name: str) -> str:
        who = json.dumps([self._config.name, self._config.options, self._config.sees, name], sort_keys=True)
        return sha256(who.encode()).hexdigest()
