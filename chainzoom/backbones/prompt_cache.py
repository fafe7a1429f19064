"""Prompt embeddings made once and kept: the base of every text-encoding part."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.checkpoints import read_json
from chainzoom.backbones.torch_common import require, torch
from chainzoom.errors import WeightsError
from chainzoom.torch_io import existing, quiet_loading

Embedding = tuple[torch.Tensor, ...]
"""Tensors of one or more prompts, each with a leading batch axis."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_log = logging.getLogger(__name__)


class CachedPrompts(ABC):
    """Encodes prompts, each only once: the last ``cache_size`` results stay on the device (about 5 MB each in 16 bits for SD3).

    Up to ``together`` prompts of a call are encoded as one batch. That is faster on a GPU, but a batch of another size may round otherwise;
    so such results are kept for the same prompts in the same order, and a prompt on its own is always encoded on its own.
    """

    def __init__(self, tokenizers: Mapping[str, Any], limits: Mapping[str, int], cache_size: int = 64, together: int = 1) -> None:
        """``limits`` says how many tokens each tokenizer's encoder sees, start and end tokens included."""
        self._tokenizers, self._limits, self._together = dict(tokenizers), dict(limits), together
        self._cache: OrderedDict[tuple[str, ...], Embedding] = OrderedDict()
        self._cache_size = max(1, cache_size)
        self.encoded = 0
        """Prompts that went through the encoders so far (not answered from the cache)."""

    def encode(self, prompts: Sequence[str]) -> Embedding:
        """The embeddings of all prompts, stacked on the batch axis, on the device. Cut prompts are logged."""
        distinct = list(dict.fromkeys(prompts))
        groups = [tuple(distinct[at : at + self._together]) for at in range(0, len(distinct), self._together)]
        new = [group for group in groups if group not in self._cache]
        known = {group: self._cache[group] for group in groups if group in self._cache}
        for prompt in (prompt for group in new for prompt in group):
            cut = {name: count for name, count in self.truncation(prompt).items() if count}
            if cut:
                lost = ", ".join(f"{name} misses {count} tokens" for name, count in cut.items())
                _log.warning("a prompt of %d characters is too long for the text encoders: %s", len(prompt), lost)
        if new:
            known.update(zip(new, self._run(new), strict=True))
            self.encoded += sum(map(len, new))
        for group in groups:
            self._cache[group] = known[group]
            self._cache.move_to_end(group)
        while sum(map(len, self._cache)) > self._cache_size and len(self._cache) > 1:
            self._cache.popitem(last=False)
        rows = [distinct.index(prompt) for prompt in prompts]
        stacked = [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*(known[group] for group in groups), strict=True)]
        if rows == list(range(len(distinct))):
            return tuple(stacked)
        return tuple(tensor[rows] for tensor in stacked)

    def truncation(self, prompt: str) -> dict[str, int]:
        """How many tokens of the prompt each encoder does not see; zeros when it fits."""
        return {
            name: max(0, len(tokenizer(prompt, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]) - self._limits[name])
            for name, tokenizer in self._tokenizers.items()
        }

    def _ids(self, name: str, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Token ids (B, limit), padded and cut to the encoder's limit."""
        tokens = self._tokenizers[name](
            list(prompts),
            padding="max_length",
            max_length=self._limits[name],
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        ids: torch.Tensor = tokens.input_ids.to(device)
        return ids

    @abstractmethod
    def _run(self, groups: Sequence[Sequence[str]]) -> list[Embedding]:
        """Encode groups of prompts, each group as one batch."""


def load_tokenizer(folder: Path, encoder: Any) -> Any:
    """The tokenizer in a folder, whatever its class; ``encoder`` is the model that takes its ids. Raises WeightsError."""
    existing(folder, "tokenizer folder")
    read_json(folder / "tokenizer_config.json")
    if not any((folder / name).is_file() for name in _VOCABULARIES):  # transformers would make an empty one without a word
        raise WeightsError(f"tokenizer {folder} holds none of {', '.join(_VOCABULARIES)}; fetch the model again")
    transformers = require("transformers", "the text encoders")
    try:
        with quiet_loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # OSError, ValueError, KeyError, or the Rust library's own bare Exception
        raise WeightsError(f"tokenizer {folder} is not readable: {' '.join(str(error).split())[:160]}; fetch the model again") from error
    words, known = len(tokenizer), int(encoder.config.vocab_size)
    if words > known:
        raise WeightsError(
            f"tokenizer {folder} has {words} words, its encoder only {known}; they do not belong together: fetch the model again"
        )
    return tokenizer
