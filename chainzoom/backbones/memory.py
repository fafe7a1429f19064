"""What the official backbone should need of device memory, computed without one: weights are counted, passes run on meta tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chainzoom.backbones.placement import VISITS, parse_quantise
from chainzoom.backbones.sd3_prompts import ENCODERS, LIMITS, TOGETHER
from chainzoom.backbones.sd3_sizes import SD3_MEDIUM, Configs, build
from chainzoom.backbones.torch_common import MEMORY_MODES, parse_choice, parse_dtype, torch
from chainzoom.torch_io import quiet_loading
from chainzoom.torch_memory import held_bytes, peak_bytes

_TEXT = {name: part for part, name in ENCODERS.items()}
_TILE = 1024


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of device memory.

    weights      part -> its parameters and buffers in the chosen precision
    resident     parts that stay on the device all the time
    activations  phase -> largest sum of live tensors during it, weights not counted
    phases       phase (a text encoder, ``vae_encode``, ``transformer``, ``vae_decode``) -> weights there then + activations
    """

    weights: Mapping[str, int]
    resident: int
    activations: Mapping[str, int]
    phases: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The peak: the most demanding phase."""
        return max(self.phases.values())


def estimate_memory(
    memory: str = "fast",
    dtype: str = "bfloat16",
    size: int = 512,
    *,
    batch: int = 1,
    quantise_t5: str | None = None,
    configs: Configs = SD3_MEDIUM,
) -> MemoryEstimate:
    """Expected peak of osediff_sd3 for ``batch`` states of ``size`` pixels a side, each with its own words; ``configs`` as ``SD3_MEDIUM``.

    PyTorch's scaled_dot_product_attention counts as fused (no matrix of scores). Kernel workspaces, the allocator's slack and the
    driver's own context come on top. Not yet checked against a GPU's measured peak.
    """
    parse_choice("memory", memory, MEMORY_MODES)
    kind, int8 = parse_dtype(dtype), parse_quantise(quantise_t5) == "int8"
    vae_kind = torch.float32 if kind == torch.float16 and configs["vae"].get("force_upcast", True) else kind
    with quiet_loading():
        models = {part: build(part, config).to(vae_kind if part == "vae" else kind) for part, config in configs.items()}
    if kind == torch.float16:  # transformers keeps these layers of T5 in float32 then, since they overflow
        for name, layer in models["text_encoder_3"].named_modules():
            if name.endswith(".wo"):
                layer.float()
    weights = {part: held_bytes(model) for part, model in models.items()}
    t5 = models["text_encoder_3"]
    if int8:  # one byte a weight in Linear layers; per-row scales are negligible
        weights["text_encoder_3"] -= sum(
            m.weight.numel() * (m.weight.element_size() - 1) for m in t5.modules() if isinstance(m, torch.nn.Linear)
        )
    kinds = {part: "text" if part in ENCODERS else "core" for part in configs}
    resident = sum(weights[part] for part in configs if kinds[part] not in VISITS[memory])

    side, prompts = min(size, _TILE), 1 if memory == "low" else min(batch, TOGETHER)
    activations = {name: _text_activations(models[part], LIMITS[name], prompts) for name, part in _TEXT.items()}
    activations |= _image_activations(models, configs, side, batch, vae_kind, kind)
    part_of = {**_TEXT, "vae_encode": "vae", "transformer": "transformer", "vae_decode": "vae"}
    phases = {}
    for phase, part in part_of.items():
        visiting = weights[part] if kinds[part] in VISITS[memory] else 0
        if visiting and phase == "t5" and memory == "low" and not int8:  # streamed: two layers at most, one leaving as the next comes
            visiting = 2 * max(held_bytes(leaf) for leaf in t5.modules() if not list(leaf.children()))
        phases[phase] = resident + visiting + activations[phase]
    return MemoryEstimate(weights, resident, activations, phases)


def _text_activations(model: Any, length: int, prompts: int) -> int:
    ids = torch.zeros((prompts, length), dtype=torch.long, device="meta")
    return peak_bytes(lambda: model(ids, output_hidden_states=length == LIMITS["clip_l"]))


def _image_activations(models: Mapping[str, Any], configs: Configs, side: int, batch: int, vae_kind: Any, kind: Any) -> dict[str, int]:
    transformer, vae = configs["transformer"], models["vae"]
    latent = (batch, transformer["in_channels"], side // 8, side // 8)
    tokens = LIMITS["clip_l"] + LIMITS["t5"]

    def empty(*shape: int, dtype: Any = kind) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    return {
        "vae_encode": peak_bytes(lambda: vae.encode(empty(batch, 3, side, side, dtype=vae_kind))),
        "transformer": peak_bytes(
            lambda: models["transformer"](
                hidden_states=empty(*latent),
                timestep=empty(batch, dtype=torch.float32),
                encoder_hidden_states=empty(batch, tokens, transformer["joint_attention_dim"]),
                pooled_projections=empty(batch, transformer["pooled_projection_dim"]),
            )
        ),
        "vae_decode": peak_bytes(lambda: vae.decode(empty(*latent, dtype=vae_kind))),
    }
