"""The same networks in our engine: 16 bits, LoRA merged (so it is not there any more), embeddings kept, batches, words beside pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from chainzoom import Chain
from chainzoom.backbones.latents import Latents
from chainzoom.backbones.lora import LowRankUpdates
from chainzoom.backbones.osediff_sd3 import SHIFTS, OSEDiffSD3
from chainzoom.backbones.placement import Placement
from chainzoom.backbones.sd3_prompts import ENCODERS, SD3Prompts
from chainzoom.prompters.asking import Answer, Asking, Request
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.vlm import VLM
from chainzoom.prompters.vlm_loading import Loaded
from chainzoom.weights import Weights
from official.models import Size, StandInTokenizer, force_length, network, vision_language, words_for


@dataclass(frozen=True, slots=True)
class Options:
    """How ours is set up; ``dtype`` is torch's name, ``compile`` a torch.compile backend or None."""

    memory: str = "fast"
    dtype: str = "bfloat16"
    channels_last: bool = False
    compile: str | None = None


class Prompting:
    """The VLM with everything around it (views to requests, cache, checks), its words replaced by usable ones at the very end."""

    name = "vlm"
    weights: tuple[Weights, ...] = ()

    def __init__(self, vlm: VLM) -> None:
        self._vlm, self._made = vlm, 0
        self._asking = Asking(self._ask, "vlm", "")

    def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        answers = self._vlm.answers(requests)
        self._made += len(answers)
        return [Answer(words_for(self._made - n)) for n in range(len(answers))]

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        return self._asking.describe(views)


def build_ours(size: Size, device: str, options: Options, batch: int) -> Chain:
    """The chain of the preset ``official`` with random weights."""
    kind = getattr(torch, options.dtype)
    place = Placement(torch.device(device), options.memory)
    # Parts that only visit the device are made where they wait.
    text_at, core_at = ("cpu" if options.memory != "fast" else device), ("cpu" if options.memory == "low" else device)
    for part, name in ENCODERS.items():
        place.add(name, network(size, part, text_at, kind), "text", stream=name == "t5")
    transformer = network(size, "transformer", core_at, kind)
    vae = network(size, "vae", core_at, kind)
    if options.channels_last:
        vae.to(memory_format=torch.channels_last)
    place.add("vae", vae, "core")
    place.add("transformer", transformer, "core")
    if options.compile is not None:
        transformer.compile(backend=options.compile)
    prompts = SD3Prompts({name: StandInTokenizer(size.sd3[part]["vocab_size"]) for part, name in ENCODERS.items()}, place, kind)
    before, after = SHIFTS["point"]
    backbone = OSEDiffSD3(
        transformer,
        Latents(place, vae.config),
        prompts,
        place,
        LowRankUpdates(transformer, _no_file),
        timestep=1000.0,
        shifts=(before * vae.config.shift_factor, after * vae.config.shift_factor),
        files=(),
    )
    waits = "balanced" if options.memory != "fast" else "fast"
    model, processor = vision_language(size, "cpu" if waits == "balanced" else device, kind)
    loaded = Loaded(model, processor, Path(), torch.device(device), False)
    vlm = VLM(loaded, None, max_new_tokens=size.new_tokens, batch_size=batch, memory=waits)
    force_length(model, size.new_tokens)
    return Chain(backbone, Prompting(vlm), consistency=0.0, size=size.side, protocol="paper")


def _no_file(name: str) -> Any:
    raise AssertionError(f"nothing is merged here: {name}")
