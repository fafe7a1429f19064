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
"""Tensors of one prompt, each with a leading batch axis of 1."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_log = logging.getLogger(__name__)


class CachedPrompts(ABC):
    """Encodes prompts, each only once: the last ``cache_size`` results stay on the device (about 5 MB each in 16 bits for SD3)."""

    def __init__(self, tokenizers: Mapping[str, Any], limits: Mapping[str, int], cache_size: int = 64) -> None:
        """``limits`` says how many tokens each tokenizer's encoder sees, start and end tokens included."""
        self._tokenizers, self._limits = dict(tokenizers), dict(limits)
        self._cache: OrderedDict[str, Embedding] = OrderedDict()
        self._cache_size = max(1, cache_size)
        self.encoded = 0
        """Prompts that went through the encoders so far (not answered from the cache)."""

    def encode(self, prompts: Sequence[str]) -> Embedding:
        """The embeddings of all prompts, stacked on the batch axis, on the device.

        A prompt is encoded on its own, so its embedding does not depend on the others in the batch. Cut prompts are logged.
        """
        wanted = {prompt: self._cache[prompt] for prompt in prompts if prompt in self._cache}
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in wanted]
        for prompt in new:
            cut = {name: count for name, count in self.truncation(prompt).items() if count}
            if cut:
                lost = ", ".join(f"{name} misses {count} tokens" for name, count in cut.items())
                _log.warning("a prompt of %d characters is too long for the text encoders: %s", len(prompt), lost)
        if new:
            wanted.update(zip(new, self._run(new), strict=True))
            self.encoded += len(new)
        for prompt in dict.fromkeys(prompts):
            self._cache[prompt] = wanted[prompt]
            self._cache.move_to_end(prompt)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return tuple(torch.cat(parts) for parts in zip(*(wanted[prompt] for prompt in prompts), strict=True))

    def truncation(self, prompt: str) -> dict[str, int]:
        """How many tokens of the prompt each encoder does not see; zeros when it fits."""
        return {
            name: max(0, len(tokenizer(prompt, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]) - self._limits[name])
            for name, tokenizer in self._tokenizers.items()
        }

    def _ids(self, name: str, prompt: str, device: torch.device) -> torch.Tensor:
        """Token ids (1, limit), padded and cut to the encoder's limit."""
        tokens = self._tokenizers[name](
            [prompt], padding="max_length", max_length=self._limits[name], truncation=True, add_special_tokens=True, return_tensors="pt"
        )
        ids: torch.Tensor = tokens.input_ids.to(device)
        return ids

    @abstractmethod
    def _run(self, prompts: Sequence[str]) -> list[Embedding]:
        """Encode prompts that are not in the cache."""


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
