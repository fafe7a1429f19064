"""The official stack's networks with random weights: real classes, published or tiny sizes, made on the device from no file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from chainzoom.backbones.sd3_sizes import SD3_MEDIUM, Configs, build
from chainzoom.prompters.vlm_sizes import QWEN25_VL_3B, VLMConfig, build_vlm
from chainzoom.torch_io import quiet_loading

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Size:
    """``side`` of a state in pixels, its networks' configurations, and how many tokens the VLM answers."""

    name: str
    side: int
    sd3: Configs
    vlm: VLMConfig
    new_tokens: int


def _tiny_sd3() -> Configs:
    made = {part: dict(config) for part, config in SD3_MEDIUM.items()}
    heads = {"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4, "caption_projection_dim": 32}
    made["transformer"] |= {**heads, "joint_attention_dim": 48, "pooled_projection_dim": 32, "sample_size": 8, "pos_embed_max_size": 16}
    made["vae"] |= {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64}
    clip = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 16}
    made["text_encoder"] |= clip
    made["text_encoder_2"] |= clip
    made["text_encoder_3"] |= {"d_model": 48, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return made


def _tiny_vlm() -> VLMConfig:
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"vocab_size": 512, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64, "fullatt_block_indexes": [1]}
    return VLMConfig({**QWEN25_VL_3B.text, **text}, {**QWEN25_VL_3B.vision, **vision})


SIZES = {
    "tiny": Size("tiny", 64, _tiny_sd3(), _tiny_vlm(), 4),
    "full": Size("full", 512, SD3_MEDIUM, QWEN25_VL_3B, 32),
}


class StandInTokenizer:
    """Takes the place of a tokenizer file: each word becomes a number below the size of the encoder's vocabulary."""

    def __init__(self, words: int) -> None:
        self._words = words

    def __call__(self, texts: str | Sequence[str], max_length: int = 0, **_: Any) -> Any:
        if isinstance(texts, str):
            return {"input_ids": self._ids(texts)}
        rows = [(self._ids(text) + [0] * max_length)[:max_length] for text in texts]
        return SimpleNamespace(input_ids=torch.tensor(rows))

    def _ids(self, text: str) -> list[int]:
        return [zlib.crc32(word.encode()) % self._words for word in text.split()]


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks built in the block are made in this precision, so that none is ever there in another one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def network(size: Size, part: str, device: str, dtype: torch.dtype) -> Any:
    """One part of Stable Diffusion 3 in eval mode."""
    with made_in(dtype), quiet_loading():
        return build(part, size.sd3[part], device).to(dtype).requires_grad_(False)


def vision_language(size: Size, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Qwen2.5-VL and a processor: the real image processor, and a tokenizer of bytes, since the published one is a file."""
    words = transformers.Qwen2Tokenizer(vocab={letter: n for n, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[])
    words.add_special_tokens({"additional_special_tokens": list(_SPECIAL[1:]), "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    ids = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
    marks = {"image_token_id": ids["image_pad"], "video_token_id": ids["video_pad"]}
    marks |= {"vision_start_token_id": ids["vision_start"], "vision_end_token_id": ids["vision_end"]}
    with made_in(dtype), quiet_loading():
        model = build_vlm(size.vlm, device, **marks).to(dtype)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, repetition_penalty=1.05
    )
    limits = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    images = transformers.Qwen2VLImageProcessor(size=limits, patch_size=14, merge_size=2, temporal_patch_size=2)
    video = transformers.Qwen2VLVideoProcessor(size=limits, patch_size=14, merge_size=2, temporal_patch_size=2)
    return model, transformers.Qwen2_5_VLProcessor(images, words, video, chat_template=_TEMPLATE)


def force_length(model: Any, tokens: int) -> None:
    """Every answer has this many tokens: random weights would stop anywhere."""
    model.generation_config.max_new_tokens = model.generation_config.min_new_tokens = tokens


_WORDS = (
    "fur", "stone", "bark", "leaf", "moss", "feather", "iris", "thread", "brick", "petal", "grain", "ripple",
    "glass", "rust", "sand", "wool", "scale", "vein", "pollen", "cloud", "shadow", "hair", "paper", "foam",
)  # fmt: skip


def words_for(number: int) -> str:
    """Thirteen words in place of the VLM's, which random weights make unusable; another selection for each number up to 13 824."""
    first, second, third = number % 24, number // 24 % 24, number // 576 % 24
    picked = [_WORDS[(first + step * 5) % 24] for step in range(10)]
    return ", ".join([f"{_WORDS[second]} with {_WORDS[third]}", *picked])
