"""The authors' way of working, written afresh from its description: float32 networks, LoRA beside the weights with half-precision results,
pictures through PNG files between steps, one image at a time, every text encoder called for every image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage

from chainzoom.backbones.lora import adaln_parameters
from chainzoom.prompters.questions import prompt_question, turns
from official.models import Size, StandInTokenizer, force_length, network, vision_language, words_for

RANK = 4


class BesideLoRA(torch.nn.Module):
    """A layer plus its low-rank update, computed in float32 at every call and handed on as ``answer`` (None: as it is)."""

    def __init__(self, base: Any, scale: float, answer: torch.dtype | None) -> None:
        super().__init__()
        self.base, self.scale, self.answer = base, scale, answer
        kind = {"device": base.weight.device, "dtype": base.weight.dtype}
        if isinstance(base, torch.nn.Linear):
            self.down: Any = torch.nn.Linear(base.in_features, RANK, bias=False, **kind)
            self.up: Any = torch.nn.Linear(RANK, base.out_features, bias=False, **kind)
        else:
            geometry = {"kernel_size": base.kernel_size, "stride": base.stride, "padding": base.padding}
            self.down = torch.nn.Conv2d(base.in_channels, RANK, bias=False, **geometry, **kind)
            self.up = torch.nn.Conv2d(RANK, base.out_channels, 1, bias=False, **kind)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.base(x) + self.scale * self.up(self.down(x))
        return out if self.answer is None else out.to(self.answer)


def _wrap(module: torch.nn.Module, names: list[str], scale: float, answer: torch.dtype | None) -> None:
    for name in names:
        outer, _, inner = name.rpartition(".")
        parent = module.get_submodule(outer)
        setattr(parent, inner, BesideLoRA(parent.get_submodule(inner), scale, answer))


class Theirs:
    """One image after another, resident on one device."""

    def __init__(self, size: Size, device: str) -> None:
        self._size, self._device, self._made = size, device, 0
        # Encoders in half precision and the VLM in its published one, as their loaders give them.
        half, published = (torch.float16, torch.bfloat16) if device != "cpu" else (torch.float32, torch.float32)
        self._texts = {part: network(size, part, device, half) for part in ("text_encoder", "text_encoder_2", "text_encoder_3")}
        self._tokens = {part: StandInTokenizer(size.sd3[part]["vocab_size"]) for part in self._texts}
        self._transformer = network(size, "transformer", device, torch.float32)
        self._vae = network(size, "vae", device, torch.float32)
        self._vlm, self._processor = vision_language(size, device, published)
        force_length(self._vlm, size.new_tokens)
        _wrap(self._transformer, [name.removesuffix(".weight") for name in adaln_parameters(self._transformer)], 1.0, torch.float16)
        encoder = self._vae.encoder
        _wrap(encoder, [name for name, layer in encoder.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)], 2.0, None)

    def zoom(self, photo: Path, steps: int, folder: Path) -> Iterator[Path]:
        """PNG files of the states after state 0, which is ``photo``."""
        state = photo
        for index in range(steps):
            picture = _read(state)
            side = picture.width
            low = (side - side // 4) // 2
            box = (low, low, low + side // 4, low + side // 4)
            crop = picture.crop(box).resize((side, side), PILImage.Resampling.BICUBIC)
            zoomed = folder / f"zoomed{index}.png"
            crop.save(zoomed)
            words = self._describe(state, zoomed)
            state = folder / f"{index + 1}.png"
            self._restore(zoomed, words, state)
            yield state

    @torch.no_grad()
    def _describe(self, *files: Path) -> str:
        images = [_read(file) for file in files]
        chat = turns(prompt_question(len(images)), [{"type": "image"}] * len(images))
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        inputs = self._processor(text=[text], images=images, padding=True, return_tensors="pt").to(self._device)
        out = self._vlm.generate(**inputs, do_sample=False)
        self._processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert out.shape[1] - inputs["input_ids"].shape[1] == self._size.new_tokens
        self._made += 1
        return words_for(self._made)

    @torch.no_grad()
    def _restore(self, zoomed: Path, words: str, target: Path) -> None:
        pixels = torch.from_numpy(np.asarray(_read(zoomed), dtype=np.float32) / 255).permute(2, 0, 1)[None]
        embeds, pooled = self._embed(words)
        config = self._vae.config
        latent = self._vae.encode(pixels.to(self._device) * 2 - 1).latent_dist.sample() * config.scaling_factor
        timestep = torch.full((1,), 1000.0, device=self._device)
        latent = latent - self._transformer(latent, embeds, pooled, timestep, return_dict=False)[0].float()
        out = self._vae.decode(latent / config.scaling_factor + config.shift_factor).sample
        cut = (out[0] * 0.5 + 0.5).clamp(0, 1).mul(255).byte().permute(1, 2, 0).cpu().numpy()
        PILImage.fromarray(cut).save(target)

    def _embed(self, words: str) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, pooled = [], []
        for part in ("text_encoder", "text_encoder_2"):
            answer = self._texts[part](self._tokens[part]([words], max_length=77).input_ids.to(self._device), output_hidden_states=True)
            hidden.append(answer.hidden_states[-2])
            pooled.append(answer[0])
        t5 = self._texts["text_encoder_3"](self._tokens["text_encoder_3"]([words], max_length=512).input_ids.to(self._device))[0]
        clip = torch.cat(hidden, dim=-1)
        clip = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return torch.cat([clip, t5], dim=1).float(), torch.cat(pooled, dim=-1).float()


def _read(file: Path) -> PILImage.Image:
    with PILImage.open(file) as picture:
        return picture.convert("RGB")
