"""Presets: named, checked configurations in TOML (backbone + prompter + chain), shipped with the package or given by path.

description = "one line"
[backbone]  name = "realesrgan"   + the backbone's options
[prompter]  name = "tags"         + the prompter's options
[chain]     mode, align, consistency, size, protocol, prompt
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from chainzoom.chain import Chain
from chainzoom.errors import PresetError
from chainzoom.registry import BACKBONES, PROMPTERS, Entry, build_backbone, build_prompter, entry_of
from chainzoom.settings import Settings

_CHAIN_KEYS: dict[str, tuple[type, ...]] = {
    "mode": (str,),
    "align": (str,),
    "consistency": (int, float),
    "size": (int,),
    "protocol": (str,),
    "prompt": (str,),
}
_TOP_KEYS = ("description", "backbone", "prompter", "chain")


@dataclass(frozen=True, slots=True)
class Preset:
    """A configuration, checked but not built; ``origin`` is the file it came from."""

    name: str
    description: str
    origin: str
    backbone: str
    prompter: str
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    prompter_options: Mapping[str, Any] = field(default_factory=dict)
    chain: Mapping[str, Any] = field(default_factory=dict)

    def entries(self) -> tuple[Entry, Entry]:
        """Registry entries of the backbone and the prompter."""
        return entry_of("backbone", BACKBONES, self.backbone), entry_of("prompter", PROMPTERS, self.prompter)

    def missing(self) -> str:
        """The line that installs what this preset lacks here, or an empty string."""
        lacking = [entry for entry in self.entries() if entry.missing()]
        if not lacking:
            return ""
        extras = sorted({entry.extra for entry in lacking if entry.extra})
        return f"pip install 'chainzoom[{','.join(extras)}]'" if extras else "pip install --force-reinstall chainzoom"

    def check(self, **overrides: Any) -> Settings:
        """The chain's settings with ``overrides`` (None leaves the preset's value), checked before any weights are loaded."""
        values = {**self.chain, **{key: value for key, value in overrides.items() if value is not None}}
        return Settings(user_prompt=values.pop("prompt", ""), **values)

    def build(self, **overrides: Any) -> Chain:
        """A Chain with its weights loaded; ``overrides`` as for check."""
        settings = self.check(**overrides)
        backbone = build_backbone(self.backbone, self.backbone_options)
        prompter = None if self.prompter == "null" else build_prompter(self.prompter, self.prompter_options)
        return Chain(backbone, prompter, **asdict(settings))

    def parts(self) -> dict[str, Any]:
        """Names and options of the parts, for the record."""
        return {
            "backbone": {"name": self.backbone, **self.backbone_options},
            "prompter": {"name": self.prompter, **self.prompter_options},
        }


def builtin_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package; ``default`` first."""
    files = resources.files("chainzoom") / "configs"
    names = sorted(file.name.removesuffix(".toml") for file in files.iterdir() if file.name.endswith(".toml"))
    return ("default", *(name for name in names if name != "default"))


def load_preset(name: str = "default") -> Preset:
    """A preset by name, or from a path that ends in ``.toml``.

    Raises PresetError when there is none, when the file is no TOML, or for any key that is not known.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise PresetError(f"cannot read the preset file {name}: {reason}") from None
        return parse_preset(text, path.stem, str(path))
    if name not in builtin_names():
        raise PresetError(f"unknown preset '{name}'; known are {', '.join(builtin_names())}, or give the path of a .toml file")
    text = (resources.files("chainzoom") / "configs" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_preset(text, name, f"chainzoom/configs/{name}.toml")


def parse_preset(text: str, name: str, origin: str) -> Preset:
    """Check a preset's TOML text; see load_preset."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PresetError(f"preset {origin} is not valid TOML: {error}") from None
    _refuse_unknown(origin, "the top level", data, _TOP_KEYS)
    parts: dict[str, dict[str, Any]] = {}
    for key in ("backbone", "prompter", "chain"):
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise PresetError(f"preset {origin}: [{key}] must be a table")
        parts[key] = dict(value)
    names = {key: parts[key].pop("name", None if key == "backbone" else "null") for key in ("backbone", "prompter")}
    if not all(isinstance(value, str) for value in names.values()):
        raise PresetError(f'preset {origin} needs [backbone] name = "..."; known are {", ".join(BACKBONES)}')
    _refuse_unknown(origin, "[chain]", parts["chain"], tuple(_CHAIN_KEYS))
    for key, value in parts["chain"].items():
        if not isinstance(value, _CHAIN_KEYS[key]) or isinstance(value, bool):
            raise PresetError(f"preset {origin}: [chain] {key} has the wrong type: {value!r}")
    preset = Preset(
        name,
        str(data.get("description", "")),
        origin,
        str(names["backbone"]),
        str(names["prompter"]),
        parts["backbone"],
        parts["prompter"],
        parts["chain"],
    )
    preset.entries()
    return preset


def _refuse_unknown(origin: str, where: str, data: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            raise PresetError(f"preset {origin}: unknown key '{key}' in {where}; known are {', '.join(known)}")
