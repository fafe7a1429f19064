"""Maker of tiny Qwen2.5-VL and Qwen3-VL checkpoints with random weights, in the files and names of the published ones."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
WORDS = ["system", "user", "assistant", "orange", "fur", "grass", "sky", "stone", "image", "words", "the", "of"]

# The published template's form for turns with plain text or images, nothing else.
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' or 'image' in part or 'image_url' in part %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

LAYERS, HIDDEN, INNER, HEADS, KV = 2, 64, 128, 4, 2


def tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Byte-level BPE with a few whole words."""
    vocab = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in [*WORDS, *("Ġ" + word for word in WORDS)]:
        piece = word[0]
        for letter in word[1:]:
            if (piece, letter) not in merges:
                merges.append((piece, letter))
                vocab[piece + letter] = len(vocab)
            piece += letter
    made = transformers.Qwen2Tokenizer(vocab=vocab, merges=merges)
    made.add_special_tokens({"additional_special_tokens": SPECIAL[1:], "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    made.chat_template = TEMPLATE
    return made


def processor(kind: str) -> Any:
    """The published processor class; images come out at 4 to 16 patches a side."""
    words = tokenizer()
    pixels = {"patch_size": 14 if kind == "qwen2_5_vl" else 16, "merge_size": 2, "temporal_patch_size": 2}
    side = pixels["patch_size"]
    size = {"shortest_edge": (4 * side) ** 2, "longest_edge": (8 * side) ** 2}
    images = transformers.Qwen2VLImageProcessor(size=size, **pixels)
    if kind == "qwen2_5_vl":
        video = transformers.Qwen2VLVideoProcessor(size=size, **pixels)
        return transformers.Qwen2_5_VLProcessor(images, words, video, chat_template=TEMPLATE)
    video = transformers.Qwen3VLVideoProcessor(size=size, **pixels)
    return transformers.Qwen3VLProcessor(images, words, video, chat_template=TEMPLATE)


def config(kind: str, words: Any) -> Any:
    ids = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
    text = {
        "vocab_size": len(words),
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV,
        "max_position_embeddings": 2048,
        "bos_token_id": words.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    tokens = {
        "image_token_id": ids["image_pad"],
        "video_token_id": ids["video_pad"],
        "vision_start_token_id": ids["vision_start"],
        "vision_end_token_id": ids["vision_end"],
        "tie_word_embeddings": False,
    }
    if kind == "qwen2_5_vl":
        text["rope_scaling"] = {"type": "mrope", "mrope_section": [2, 3, 3]}
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        }
        return transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
    text |= {"head_dim": HIDDEN // HEADS, "rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True}}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **tokens)


def _speak(model: Any, words: Any, says: list[str]) -> None:
    """Make the model say these tokens whatever it is shown: layers add nothing, and each token's embedding points at the next token."""
    ids = words.encode("assistant\n")[-1:] + [words.convert_tokens_to_ids(word) for word in says] + [words.eos_token_id]
    for name, parameter in model.named_parameters():
        if "language_model" in name and ("o_proj" in name or "down_proj" in name):
            parameter.zero_()
    embedding = model.get_input_embeddings().weight
    for now, after in pairwise(ids):
        model.lm_head.weight[after] = 20 * embedding[now] / embedding[now].norm()


def make(folder: Path, kind: str = "qwen2_5_vl", seed: int = 0, says: list[str] | None = None) -> Path:
    """Write a checkpoint folder and return it.

    ``says``: tokens that the model always answers with.
    """
    process = processor(kind)
    torch.manual_seed(seed)
    settings = config(kind, process.tokenizer)
    cls = transformers.Qwen2_5_VLForConditionalGeneration if kind == "qwen2_5_vl" else transformers.Qwen3VLForConditionalGeneration
    model = cls(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
        if says is not None:
            _speak(model, process.tokenizer, says)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=settings.text_config.bos_token_id,
        eos_token_id=[settings.text_config.eos_token_id, settings.text_config.bos_token_id],
        pad_token_id=settings.text_config.pad_token_id,
        do_sample=True,
        repetition_penalty=1.05,
        temperature=0.1,
        top_k=50,
        top_p=0.9,
    )
    model.save_pretrained(folder)
    process.save_pretrained(folder)
    return folder


def old_name(name: str) -> str:
    """A tensor's name before the language model moved under ``model.language_model``."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def make_adapter(folder: Path, model: Any, seed: int = 1, rank: int = 8, alpha: int = 32, layout: str = "old") -> dict[str, torch.Tensor]:
    """Write a PEFT adapter on every linear layer of the language model, in the files and key names of the official one; its tensors."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and "language_model" in name:
            theirs = old_name(f"{name}.")[:-1] if layout == "old" else name
            for side, shape in (("A", (rank, layer.in_features)), ("B", (layer.out_features, rank))):
                tensors[f"base_model.model.{theirs}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.05
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_adapter_config(folder, r=rank, lora_alpha=alpha)
    return tensors


def write_adapter_config(folder: Path, **changes: Any) -> None:
    """The official adapter's configuration, with changes."""
    settings = {
        "base_model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct",
        "bias": "none",
        "fan_in_fan_out": False,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 8,
        "rank_pattern": {},
        "target_modules": r"^(model).*\.(q_proj|o_proj|gate_proj|down_proj|k_proj|up_proj|v_proj)$",
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings | changes))


def names_on_disk(folder: Path) -> list[str]:
    with (folder / "model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return sorted(set(json.loads(file.read(size))) - {"__metadata__"})
