"""Stable Diffusion 3's three text encoders: CLIP-L and CLIP-G side by side on channels, T5-XXL after them on tokens."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainzoom.backbones.checkpoints import existing, load_part, read_json
from chainzoom.backbones.placement import Placement, quantise_int8
from chainzoom.backbones.torch_common import quiet_loading, require, torch
from chainzoom.errors import WeightsError

ENCODERS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5"}
"""Folder of a part -> the name it has here."""
LIMITS = {"clip_l": 77, "clip_g": 77, "t5": 512}
"""Tokens that each encoder sees, start and end tokens included (official code)."""

_log = logging.getLogger(__name__)


class SD3Prompts:
    """Encodes prompts, each only once: the last ``cache_size`` results stay on the device (about 5 MB each in 16 bits at full size)."""

    def __init__(self, tokenizers: Mapping[str, Any], placement: Placement, dtype: torch.dtype, cache_size: int = 64) -> None:
        """The placement holds parts named as in ``LIMITS``."""
        self._tokenizers, self._placement, self._dtype = dict(tokenizers), placement, dtype
        self._cache: OrderedDict[str, tuple[torch.Tensor, torch.Tensor]] = OrderedDict()
        self._cache_size = max(1, cache_size)
        self.encoded = 0
        """Prompts that went through the encoders so far (not answered from the cache)."""

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
            tokenizers[name] = load_tokenizer(folder / part.replace("text_encoder", "tokenizer"))
            module = load_part(classes[name], folder / part, dtype)
            if name == "t5" and quantise_t5 == "int8":
                quantise_int8(module)
            placement.add(name, module, "text", stream=name == "t5" and quantise_t5 is None)
        return cls(tokenizers, placement, dtype, cache_size)

    def truncation(self, prompt: str) -> dict[str, int]:
        """How many tokens of the prompt each encoder does not see (``clip_l``, ``clip_g``: beyond 77; ``t5``: 512); zeros when it fits."""
        return {
            name: max(0, len(tokenizer(prompt, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]) - LIMITS[name])
            for name, tokenizer in self._tokenizers.items()
        }

    def encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (B, 589, T5 width) and pooled embeddings (B, CLIP-L width + CLIP-G width), on the device.

        Each prompt is encoded on its own, so its embedding does not depend on the others in the batch.
        """
        wanted = {prompt: self._cache[prompt] for prompt in prompts if prompt in self._cache}
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in wanted]
        wanted.update(zip(new, self._run(new), strict=True))
        for prompt in dict.fromkeys(prompts):
            self._cache[prompt] = wanted[prompt]
            self._cache.move_to_end(prompt)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return torch.cat([wanted[p][0] for p in prompts]), torch.cat([wanted[p][1] for p in prompts])

    def _run(self, prompts: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if not prompts:
            return []
        for prompt in prompts:
            cut = {name: count for name, count in self.truncation(prompt).items() if count}
            if cut:
                _log.warning(
                    "prompt of %d characters is cut: %s", len(prompt), ", ".join(f"{name} misses {n} tokens" for name, n in cut.items())
                )
        self.encoded += len(prompts)
        clip_l = self._clip("clip_l", prompts)
        clip_g = self._clip("clip_g", prompts)
        with self._placement.use("t5") as model:
            t5 = [model(self._ids("t5", prompt))[0] for prompt in prompts]
        results = []
        for (hidden_l, pooled_l), (hidden_g, pooled_g), words in zip(clip_l, clip_g, t5, strict=True):
            clip = torch.cat([hidden_l, hidden_g], dim=-1)  # (1, 77, L + G)
            clip = torch.nn.functional.pad(clip, (0, words.shape[-1] - clip.shape[-1]))
            embeds = torch.cat([clip, words.to(clip.dtype)], dim=1)  # (1, 77 + 512, T5 width)
            results.append((embeds.to(self._dtype), torch.cat([pooled_l, pooled_g], dim=-1).to(self._dtype)))
        return results

    def _clip(self, name: str, prompts: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Penultimate hidden states and projected pooled output of each prompt."""
        with self._placement.use(name) as model:
            answers = [model(self._ids(name, prompt), output_hidden_states=True) for prompt in prompts]
        return [(answer.hidden_states[-2], answer[0]) for answer in answers]

    def _ids(self, name: str, prompt: str) -> torch.Tensor:
        tokens = self._tokenizers[name](
            [prompt], padding="max_length", max_length=LIMITS[name], truncation=True, add_special_tokens=True, return_tensors="pt"
        )
        ids: torch.Tensor = tokens.input_ids.to(self._placement.device)
        return ids


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder, whatever its class. Raises WeightsError."""
    existing(folder, "tokenizer folder")
    read_json(folder / "tokenizer_config.json")
    transformers = require("transformers", "the text encoders")
    try:
        with quiet_loading():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # OSError, ValueError, KeyError, or the Rust library's own bare Exception
        raise WeightsError(f"tokenizer {folder} is not readable: {' '.join(str(error).split())[:160]}; fetch the model again") from error
