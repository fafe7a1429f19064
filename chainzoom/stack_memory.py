"""What the official stack as a whole, picture and words, should need of device memory: computed, not measured."""

from __future__ import annotations

from dataclasses import dataclass

from chainzoom.backbones.memory import MemoryEstimate, estimate_memory
from chainzoom.backbones.sd3_sizes import SD3_MEDIUM, Configs
from chainzoom.prompters.vlm_memory import VLMEstimate, estimate_vlm_memory
from chainzoom.prompters.vlm_sizes import QWEN25_VL_3B, VLMConfig


@dataclass(frozen=True, slots=True)
class StackEstimate:
    """Bytes of device memory of the backbone and the prompter on one device."""

    backbone: MemoryEstimate
    prompter: VLMEstimate

    @property
    def in_turn(self) -> int:
        """The peak when one works while the other waits (``Chain.run``)."""
        return max(self.backbone.total + self.prompter.resident, self.prompter.total + self.backbone.resident)

    @property
    def overlapped(self) -> int:
        """The peak when both work at once (``many.run_many``). Parts that only visit the device wait for each other."""
        guest = self.prompter.resident < self.prompter.weights
        peak = 0
        for phase, needed in self.backbone.phases.items():
            visits = needed - self.backbone.activations[phase] > self.backbone.resident
            apart = max(needed + self.prompter.resident, self.prompter.total + self.backbone.resident)
            peak = max(peak, apart if visits and guest else needed + self.prompter.total)
        return peak


def estimate_stack(
    memory: str = "fast",
    dtype: str = "bfloat16",
    size: int = 512,
    *,
    batch: int = 1,
    quantise_t5: str | None = None,
    quantise_vlm: str | None = None,
    sd3: Configs = SD3_MEDIUM,
    vlm: VLMConfig = QWEN25_VL_3B,
) -> StackEstimate:
    """Expected memory of osediff_sd3 with the vlm prompter, both in the same memory mode and precision.

    See ``estimate_memory`` and ``estimate_vlm_memory`` for what is counted. Not yet checked against a GPU's measured peak.
    """
    backbone = estimate_memory(memory, dtype, size, batch=batch, quantise_t5=quantise_t5, configs=sd3)
    return StackEstimate(backbone, estimate_vlm_memory(memory, dtype, size, batch=batch, quantise=quantise_vlm, config=vlm))
