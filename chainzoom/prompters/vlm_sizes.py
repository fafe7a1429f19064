"""The published configurations of Qwen2.5-VL, and networks built from them, empty (meta device) or random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainzoom.extras import need
from chainzoom.torch_io import quiet_loading

_TEXT: dict[str, Any] = {
    "max_position_embeddings": 128000,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}
_VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


@dataclass(frozen=True, slots=True)
class VLMConfig:
    """Configurations of the language half and the vision tower; ``tied``: the output layer is the embedding."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    tied: bool = True


def _sized(vocabulary: int, hidden: int, inner: int, layers: int, heads: int, shared_heads: int, *, tied: bool) -> VLMConfig:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    sizes = dict(zip(names, (vocabulary, hidden, inner, layers, heads, shared_heads), strict=True))
    return VLMConfig({**_TEXT, **sizes}, {**_VISION, "out_hidden_size": hidden}, tied)


QWEN25_VL_3B = _sized(151936, 2048, 11008, 36, 16, 2, tied=True)
"""``Qwen/Qwen2.5-VL-3B-Instruct``, the official prompter."""
QWEN25_VL_7B = _sized(152064, 3584, 18944, 28, 28, 4, tied=False)
"""``Qwen/Qwen2.5-VL-7B-Instruct``."""


def build_vlm(config: VLMConfig, device: str = "meta", **tokens: int) -> Any:
    """The network in torch's default precision: on ``meta`` it takes no memory, elsewhere its weights are random.

    ``tokens`` are ids that the tokenizer fixes, e.g. ``image_token_id``.
    """
    torch, transformers = need("torch", "building a VLM"), need("transformers", "building a VLM")
    settings = transformers.Qwen2_5_VLConfig(
        text_config={**config.text, "tie_word_embeddings": config.tied},
        vision_config=dict(config.vision),
        tie_word_embeddings=config.tied,
        **tokens,
    )
    with quiet_loading(), torch.device(device):
        return transformers.Qwen2_5_VLForConditionalGeneration(settings).eval().requires_grad_(False)
