"""Tiny random checkpoints of the real diffusers, transformers, PEFT and spandrel classes, in the published layouts."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [GOLDEN / "osediff_sd3_tiny_a", GOLDEN / "osediff_sd3_tiny_b"]
OSEDIFF_PATTERNS = (
    "to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_in", "conv_shortcut", "conv_out", "proj_out", "proj_in",
    "ff.net.2", "ff.net.0.proj",
)  # fmt: skip


def vae_config(latent: int = 4, levels: int = 4) -> dict[str, Any]:
    return {
        "block_out_channels": [8, 8, 16, 16][:levels],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": latent,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "sample_size": 32,
    }


def randomise(module: torch.nn.Module, seed: int, spread: float = 0.05) -> None:
    """Small random numbers everywhere, so that no zero-initialised layer hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)


def text_encoder(folder: Path, projection: bool = False) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=95,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=93,
        eos_token_id=94,
        pad_token_id=94,
    )
    model = CLIPTextModel(config)
    randomise(model, 5, 0.2)
    model.save_pretrained(folder / "text_encoder")
    shutil.copytree(CASES[0] / "model" / "tokenizer", folder / "tokenizer")


def tiny_sd21(folder: Path, prediction: str = "epsilon") -> Path:
    """A Stable Diffusion 2.1 base folder."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
    )
    randomise(unet, 1)
    vae = AutoencoderKL(**vae_config())
    randomise(vae, 2)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder(folder)
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, prediction_type=prediction
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    return folder


def osediff_lists(unet: Any, vae: Any) -> tuple[dict[str, list[str]], list[str]]:
    """The layers that OSEDiff trains, by its own rule: the UNet's three groups and the VAE encoder's."""
    lists: dict[str, list[str]] = {"encoder": [], "decoder": [], "others": []}
    for name, _ in unet.named_parameters():
        if "bias" in name or "norm" in name or not any(pattern in name for pattern in OSEDIFF_PATTERNS):
            continue
        kind = "encoder" if "down_blocks" in name or "conv_in" in name else "decoder" if "up_blocks" in name else "others"
        lists[kind].append(name.removesuffix(".weight"))
    vae_list = [
        name.removesuffix(".weight")
        for name, _ in vae.encoder.named_parameters(prefix="encoder")
        if "bias" not in name and "norm" not in name and any(pattern in name for pattern in OSEDIFF_PATTERNS)
    ]
    return lists, vae_list


def with_osediff_adapters(unet: Any, vae: Any, rank: int = 4) -> dict[str, list[str]]:
    """Wrap both networks the way OSEDiff does (PEFT, default alpha) and return the module lists of its file."""
    from peft import LoraConfig

    lists, vae_list = osediff_lists(unet, vae)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # three adapters on one network are meant
        for kind, modules in lists.items():
            unet.add_adapter(LoraConfig(r=rank, init_lora_weights="gaussian", target_modules=modules), adapter_name=f"default_{kind}")
    unet.set_adapter([f"default_{kind}" for kind in lists])
    vae.add_adapter(LoraConfig(r=rank, init_lora_weights="gaussian", target_modules=vae_list), adapter_name="default_encoder")
    for module, seed in ((unet, 11), (vae, 12)):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "lora" in name or name.startswith("conv_in"):
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return {**{f"unet_lora_{kind}_modules": modules for kind, modules in lists.items()}, "vae_lora_encoder_modules": vae_list}


def osediff_pkl(path: Path, unet: Any, vae: Any, lists: dict[str, list[str]], rank: int = 4) -> Path:
    """Write wrapped networks as ``osediff.pkl``."""
    content: dict[str, Any] = {**lists, "rank_unet": rank, "rank_vae": rank}
    content["state_dict_unet"] = {k: v.detach().clone() for k, v in unet.named_parameters() if "lora" in k or "conv_in" in k}
    content["state_dict_vae"] = {k: v.detach().clone() for k, v in vae.named_parameters() if "lora" in k}
    torch.save(content, path)
    return path


def tiny_x4(folder: Path) -> Path:
    """A Stable Diffusion x4 upscaler folder."""
    from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=7,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=True,
        num_class_embeds=1000,
    )
    randomise(unet, 3, 0.2)
    vae = AutoencoderKL(**vae_config(levels=3))
    randomise(vae, 4)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder(folder)
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.0001, "beta_end": 0.02}
    DDPMScheduler(**schedule).save_pretrained(folder / "low_res_scheduler")
    DDIMScheduler(**schedule, prediction_type="v_prediction", clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionUpscalePipeline", "max_noise_level": 350}))
    return folder
