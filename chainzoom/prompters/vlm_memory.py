"""What the vlm prompter should need of device memory, computed without one from the published sizes of Qwen2.5-VL."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from chainzoom.errors import OptionError
from chainzoom.prompters.vlm_loading import DTYPES, QUANTISE
from chainzoom.prompters.vlm_sizes import QWEN25_VL_3B, VLMConfig, build_vlm
from chainzoom.torch_memory import held_bytes, peak_bytes

_QUESTION_TOKENS = 64
"""The official two-image question with the chat's marks, rounded up."""
_QUANTISED_BYTES = {"int8": 1.0, "int4": 0.5 + 4 / 64}
"""bitsandbytes' bytes a weight; 4-bit weights share a float32 scale among 64."""


@dataclass(frozen=True, slots=True)
class VLMEstimate:
    """Bytes of device memory: all weights, those that stay between calls, and the largest sum of everything else during a call."""

    weights: int
    resident: int
    activations: int

    @property
    def total(self) -> int:
        """The peak of a call."""
        return self.weights + self.activations


def image_tokens(size: int, config: VLMConfig = QWEN25_VL_3B) -> int:
    """Tokens of a square image of ``size`` pixels: its sides are rounded to whole patches of merged pixels."""
    merged: int = config.vision["patch_size"] * config.vision["spatial_merge_size"]
    return max(1, round(size / merged)) ** 2


def estimate_vlm_memory(
    memory: str = "fast",
    dtype: str = "bfloat16",
    size: int = 512,
    *,
    images: int = 2,
    batch: int = 1,
    new_tokens: int = 32,
    quantise: str | None = None,
    config: VLMConfig = QWEN25_VL_3B,
) -> VLMEstimate:
    """Expected peak of describing ``batch`` views of ``images`` square images of ``size`` pixels; options as of ``VLM``, on a GPU.

    The language half's pass over the question runs on meta tensors, the vision tower's is its widest layer's arithmetic. Kernel workspaces,
    the allocator's slack and the driver's own context come on top. Not yet checked against a GPU's measured peak.
    """
    if memory not in ("fast", "balanced", "low") or quantise not in QUANTISE or dtype not in DTYPES[1:]:
        raise OptionError(f"expected memory fast, balanced or low, quantise int8, int4 or nothing; got {memory!r}, {quantise!r}, {dtype!r}")
    if memory == "low" and quantise is None:
        quantise = "int4"
    model = build_vlm(config).to(getattr(torch, dtype))
    each = getattr(torch, dtype).itemsize
    language = model.model.language_model
    weights = held_bytes(model)
    if quantise is not None:
        weights -= sum(
            round(layer.weight.numel() * (each - _QUANTISED_BYTES[quantise]))
            for layer in language.modules()
            if isinstance(layer, torch.nn.Linear)
        )

    tokens = images * (image_tokens(size, config) + 2) + _QUESTION_TOKENS

    def read() -> None:
        """All tokens but the answer's, whose cache is added below; only the last one's logits are made."""
        given = torch.empty(batch, tokens, config.text["hidden_size"], dtype=getattr(torch, dtype), device="meta")
        places = torch.empty(3, batch, tokens, dtype=torch.long, device="meta")
        model.lm_head(language(inputs_embeds=given, position_ids=places, use_cache=True)[0][:, -1:])

    heads = config.text["num_key_value_heads"] * config.text["hidden_size"] // config.text["num_attention_heads"]
    answer = 2 * config.text["num_hidden_layers"] * heads * batch * new_tokens * each
    patches = batch * images * image_tokens(size, config) * config.vision["spatial_merge_size"] ** 2
    seen = patches * (2 * config.vision["hidden_size"] + 3 * config.vision["intermediate_size"]) * each
    # With an answer under way, the logits are also held in float32, as they are and penalised.
    logits = 2 * batch * config.text["vocab_size"] * 4
    stays = 0 if memory == "balanced" and quantise is None else weights
    return VLMEstimate(weights, stays, max(peak_bytes(read) + answer + logits, seen))
