"""The published configurations of Stable Diffusion 3 medium, and networks built from them, empty (meta device) or random."""

from __future__ import annotations

from typing import Any

from chainzoom.backbones.torch_common import require, torch
from chainzoom.torch_io import quiet_loading

Configs = dict[str, dict[str, Any]]

_CLIP: dict[str, Any] = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
SD3_MEDIUM: Configs = {
    "transformer": {
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
    },
    "vae": {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 16,
        "norm_num_groups": 32,
        "sample_size": 1024,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "force_upcast": True,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    "text_encoder": {
        **_CLIP,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
    },
    "text_encoder_2": {
        **_CLIP,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
    "text_encoder_3": {
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
}
"""Part of the diffusers folder -> its configuration (``stabilityai/stable-diffusion-3-medium-diffusers``)."""


def build(part: str, config: dict[str, Any], device: str = "meta") -> Any:
    """A part's network in float32 from its configuration: on ``meta`` it takes no memory, elsewhere its weights are random."""
    diffusers, transformers = require("diffusers", "building Stable Diffusion 3"), require("transformers", "building Stable Diffusion 3")
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    with quiet_loading(), torch.device(device):
        if part == "transformer":
            return diffusers.SD3Transformer2DModel(**own).eval()
        if part == "vae":
            return diffusers.AutoencoderKL(**own).eval()
        if part == "text_encoder_3":
            return transformers.T5EncoderModel(transformers.T5Config(**own)).eval()
        return transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**own)).eval()


def parameter_counts(configs: Configs) -> dict[str, int]:
    """Part -> number of parameters, counted on the meta device."""
    return {part: sum(parameter.numel() for parameter in build(part, config).parameters()) for part, config in configs.items()}
