"""Where the parts of a model live: on the device all the time, only while used, or passing through it layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainzoom.backbones.torch_common import MEMORY_MODES, parse_choice, require, torch
from chainzoom.errors import MissingExtraError, OptionError
from chainzoom.torch_device import pin, visiting

VISITS = {"fast": frozenset[str](), "balanced": frozenset({"text"}), "low": frozenset({"text", "core"})}
"""Memory mode -> kinds of parts that are on the device only while they work."""


class Placement:
    """Keeps named parts where the memory mode wants them.

    fast      every part stays on the device
    balanced  ``text`` parts come one at a time and leave; ``core`` parts stay
    low       every part comes and leaves; parts added with ``stream`` pass through layer by layer instead
    """

    def __init__(self, device: torch.device, memory: str = "fast") -> None:
        self.device = device
        self.memory = parse_choice("memory", memory, MEMORY_MODES)
        self._parts: dict[str, tuple[Any, str]] = {}

    def add(self, name: str, module: torch.nn.Module, kind: str, *, stream: bool = False) -> None:
        """Take charge of a part that is on the CPU; ``kind`` is ``text`` or ``core``; ``stream`` counts in ``low`` only."""
        if stream and self.memory == "low":
            stream_layers(module, self.device)
            kind = "streamed"
        elif kind not in VISITS[self.memory]:
            _move(module, self.device)
        elif self.device.type == "cuda":
            pin(module)
        self._parts[name] = (module, kind)

    def config(self, name: str) -> Any:
        """The part's configuration, wherever the part is."""
        return self._parts[name][0].config

    @contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """The part, ready to run on the device."""
        module, kind = self._parts[name]
        if kind not in VISITS[self.memory]:
            yield module
            return
        with visiting(module, self.device):
            yield module


def _move(module: torch.nn.Module, device: torch.device) -> None:
    """Move outside of inference mode, which would leave weights that can never be changed again."""
    with torch.inference_mode(False), torch.no_grad():
        module.to(device)


def stream_layers(module: torch.nn.Module, device: torch.device) -> None:
    """Have each layer come to the device for its own forward pass and leave after it (diffusers' group offloading, leaf by leaf)."""
    hooks = require("diffusers.hooks", "--memory low")
    if not hasattr(hooks, "apply_group_offloading"):
        raise MissingExtraError("--memory low", "diffusers >= 0.33", "diffusion")
    hooks.apply_group_offloading(module, onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level")


def quantise_int8(module: torch.nn.Module) -> None:
    """Keep the Linear layers' weights as 8-bit integers (torchao, weight only), in place; MissingExtraError without torchao."""
    quantization = require("torchao.quantization", "int8 quantisation")
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig())


def parse_quantise(value: str | None) -> str | None:
    """``None`` or ``int8``."""
    if value not in (None, "int8"):
        raise OptionError(f"quantise_t5 must be None or 'int8', not {value!r}")
    return value
