"""What is compared: methods (a preset with some of its choices changed) at scales, and the rows of the paper's table.

A method is written ``PRESET`` or ``PRESET:key=value,key=value``; the keys are mode, prompter, align, consistency, step, seed and prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chainzoom.errors import OptionError
from chainzoom.presets import Preset, builtin_names, load_preset
from chainzoom.registry import PROMPTERS, entry_of

PAPER_SCALES = (4.0, 16.0, 64.0, 256.0)
KEYS = ("mode", "prompter", "align", "consistency", "step", "seed", "prompt")
_SLUG = re.compile(r"[^\w.+-]+")

PAPER_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "nearest": ("Nearest", {"mode": "nearest"}),
    "onestep": ("Direct SR (onestep)", {"mode": "onestep", "prompter": "null"}),
    "null": ("CoZ, no words", {"mode": "multiscale", "prompter": "null"}),
    "tags": ("CoZ, tags", {"mode": "multiscale", "prompter": "tags"}),
    "dape": ("CoZ, DAPE", {"mode": "multiscale", "prompter": "dape"}),
    "vlm": ("CoZ, VLM", {"mode": "multiscale", "prompter": "vlm"}),
}
"""The paper's rows as choices of a preset. The row with GRPO is a preset of its own, see paper_rows."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the tables. ``changes`` are the keys of KEYS that differ from the preset; ``label`` is for people."""

    name: str
    label: str
    preset: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """Its own run seed, or None for the evaluation's."""
        return self.changes.get("seed")

    def overrides(self) -> dict[str, Any]:
        """What ``Preset.build`` takes."""
        return {key: value for key, value in self.changes.items() if key not in ("prompter", "seed")}

    def load(self) -> Preset:
        """The preset with this method's prompter. Raises PresetError for unknown names, OptionError for settings without sense."""
        preset = load_preset(self.preset)
        if "prompter" in self.changes and self.changes["prompter"] != preset.prompter:
            entry_of("prompter", PROMPTERS, self.changes["prompter"])
            preset = replace(preset, prompter=self.changes["prompter"], prompter_options={})
        preset.check(**self.overrides())
        return preset

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return {"name": self.name, "label": self.label, "preset": self.preset, "changes": dict(self.changes)}


def parse_method(text: str) -> Method:
    """A Method from ``PRESET`` or ``PRESET:key=value,...``. Raises OptionError."""
    preset, _, rest = text.partition(":") if not text.endswith(".toml") else (text, "", "")
    changes: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in KEYS:
            raise OptionError(f"--preset takes NAME or NAME:key=value,... with the keys {', '.join(KEYS)}; got '{text}'")
        changes[key] = _typed(key, value, text)
    return method(preset, changes)


def method(preset: str, changes: Mapping[str, Any], label: str = "") -> Method:
    """A Method with a name made from its parts."""
    parts = [f"{value}" if key in ("mode", "prompter") else f"{key}{_plain(value)}" for key, value in changes.items()]
    name = _SLUG.sub("_", "-".join([preset.removesuffix(".toml").rpartition("/")[2], *parts]))
    return Method(name, label or ", ".join([preset, *(f"{key} {_plain(value)}" for key, value in changes.items())]), preset, dict(changes))


def paper_rows(preset: str) -> list[Method]:
    """The rows of the paper's table with a preset's backbone, whether or not they can run here.

    Where presets PRESET-null, PRESET-dape and PRESET-base-vlm exist (as for ``official``), they are the rows of those names and PRESET
    itself is the VLM with its GRPO adapter; otherwise the rows are PRESET with other prompters.
    """
    slug, known = _SLUG.sub("_", preset), builtin_names()
    own = load_preset(preset).prompter
    silent = f"{preset}-null" if f"{preset}-null" in known else preset
    rows = []
    for key, (label, changes) in PAPER_ROWS.items():
        twin = f"{preset}-base-vlm" if key == "vlm" else f"{preset}-{key}"
        if twin in known:
            rows.append(Method(f"{slug}-{key}", label, twin, {"mode": changes["mode"]}))
        else:
            # A prompter that the preset configures itself keeps its options: it is that row.
            kept = {k: v for k, v in changes.items() if k != "prompter" or v != own}
            rows.append(Method(f"{slug}-{key}", label, silent, kept))
    if f"{preset}-base-vlm" in known:
        rows.append(Method(f"{slug}-vlm-grpo", "CoZ, VLM with GRPO", preset, {"mode": "multiscale"}))
    return rows


def _typed(key: str, value: str, text: str) -> Any:
    try:
        return {"consistency": float, "seed": int}.get(key, str)(value)
    except ValueError:
        raise OptionError(f"--preset {text}: {key} takes a number; got '{value}'") from None


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
