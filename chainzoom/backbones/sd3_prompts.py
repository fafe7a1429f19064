"""Stable Diffusion 3's three text encoders: CLIP-L and CLIP-G side by side on channels, T5-XXL after them on tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.checkpoints import load_part
from chainzoom.backbones.placement import Placement, quantise_int8
from chainzoom.backbones.prompt_cache import CachedPrompts, Embedding, load_tokenizer
from chainzoom.backbones.torch_common import require, torch

ENCODERS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5"}
"""Folder of a part -> the name it has here."""
LIMITS = {"clip_l": 77, "clip_g": 77, "t5": 512}
"""Tokens that each encoder sees, start and end tokens included (official code)."""

TOGETHER = 8
"""Prompts in one pass on a GPU: T5's attention scores then take about 1 GB in 16 bits."""


class SD3Prompts(CachedPrompts):
    """Prompt -> embeddings (1, 589, T5 width) and pooled embeddings (1, CLIP-L width + CLIP-G width)."""

    def __init__(self, tokenizers: Mapping[str, Any], placement: Placement, dtype: torch.dtype, cache_size: int = 64) -> None:
        """The placement holds parts named as in ``LIMITS``. A GPU encodes prompts together unless memory is short."""
        together = TOGETHER if placement.device.type == "cuda" and placement.memory != "low" else 1
        super().__init__(tokenizers, LIMITS, cache_size, together)
        self._placement, self._dtype = placement, dtype

    @classmethod
    def from_folder(
        cls, folder: Path, placement: Placement, dtype: torch.dtype, *, quantise_t5: str | None = None, cache_size: int = 64
    ) -> SD3Prompts:
        """Read tokenizers and encoders of a diffusers folder. Raises WeightsError, MissingExtraError."""
        transformers = require("transformers", "the SD3 text encoders")
        classes = {"clip_l": transformers.CLIPTextModelWithProjection, "clip_g": transformers.CLIPTextModelWithProjection}
        classes["t5"] = transformers.T5EncoderModel
        tokenizers = {}
        for part, name in ENCODERS.items():
            module = load_part(classes[name], folder / part, dtype)
            tokenizers[name] = load_tokenizer(folder / part.replace("text_encoder", "tokenizer"), module)
            if name == "t5" and quantise_t5 == "int8":
                quantise_int8(module)
            placement.add(name, module, "text", stream=name == "t5" and quantise_t5 is None)
        return cls(tokenizers, placement, dtype, cache_size)

    def _run(self, groups: Sequence[Sequence[str]]) -> list[Embedding]:
        clip_l = self._clip("clip_l", groups)
        clip_g = self._clip("clip_g", groups)
        device = self._placement.device
        with self._placement.use("t5") as model:
            t5 = [model(self._ids("t5", group, device))[0] for group in groups]
        results: list[Embedding] = []
        for (hidden_l, pooled_l), (hidden_g, pooled_g), words in zip(clip_l, clip_g, t5, strict=True):
            clip = torch.cat([hidden_l, hidden_g], dim=-1)  # (B, 77, L + G)
            clip = torch.nn.functional.pad(clip, (0, words.shape[-1] - clip.shape[-1]))
            embeds = torch.cat([clip, words.to(clip.dtype)], dim=1)  # (B, 77 + 512, T5 width)
            results.append((embeds.to(self._dtype), torch.cat([pooled_l, pooled_g], dim=-1).to(self._dtype)))
        return results

    def _clip(self, name: str, groups: Sequence[Sequence[str]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Penultimate hidden states and projected pooled output of each group."""
        with self._placement.use(name) as model:
            answers = [model(self._ids(name, group, self._placement.device), output_hidden_states=True) for group in groups]
        return [(answer.hidden_states[-2], answer[0]) for answer in answers]
