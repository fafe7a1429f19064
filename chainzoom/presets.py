"""Presets: named, checked configurations in TOML (backbone + prompter + chain), shipped with the package or given by path.

description = "one line"
[backbone]  name = "realesrgan"   + the backbone's options; a part of ``adaptive`` is a name or a table of this kind
[prompter]  name = "tags"         + the prompter's options
[chain]     mode, align, consistency, size, protocol, step, prompt

An option's text that begins with ``models:`` names weights (``chainzoom models``) and is replaced by their path when the preset is built.
``device = "auto"`` is the GPU when torch sees one; a backbone's ``dtype = "auto"`` is float16 there and float32 on the CPU.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from chainzoom.chain import Chain
from chainzoom.errors import OptionError, PresetError, WeightsError
from chainzoom.models import Store, find_model, names_in
from chainzoom.registry import BACKBONES, PROMPTERS, Entry, backbone_entries, build_backbone, build_prompter, entry_of, options_of
from chainzoom.settings import Settings

_CHAIN_KEYS: dict[str, tuple[type, ...]] = {
    "mode": (str,),
    "align": (str,),
    "consistency": (int, float),
    "size": (int,),
    "protocol": (str,),
    "step": (str,),
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

    def all_entries(self) -> tuple[Entry, ...]:
        """``entries``, and those of the backbone's parts."""
        return (*backbone_entries(self.backbone, self.backbone_options), self.entries()[1])

    def models(self) -> tuple[str, ...]:
        """Names of the weights in the catalogue that the preset wants."""
        return tuple(names_in({"backbone": self.backbone_options, "prompter": self.prompter_options}))

    def missing(self, store: Store | None = None) -> str:
        """The line that installs or fetches what this preset lacks here (packages first), or an empty string."""
        lacking = [entry for entry in self.all_entries() if entry.missing()]
        extras = sorted({entry.extra for entry in lacking if entry.extra})
        weights = (store or Store()).lacking([self.backbone_options, self.prompter_options])
        lines = []
        if lacking:
            lines.append(f"pip install 'chainzoom[{','.join(extras)}]'" if extras else "pip install --force-reinstall chainzoom")
        if weights:
            lines.append(f"chainzoom models fetch {' '.join(weights)}")
        return "; ".join(lines)

    def terms(self) -> str:
        """What the licences of the weights come to, the strictest counting."""
        terms = {find_model(name).terms for name in self.models()}
        if any(entry.extra for entry in self.all_entries()) and not terms:
            return "as your weights say"
        for strict, said in (
            ("non-commercial", "non-commercial"),
            ("unclear", "unclear"),
            ("use restrictions", "permissive, some uses barred"),
        ):
            if strict in terms:
                return said
        return "permissive"

    def with_options(self, **overrides: Any) -> Preset:
        """This preset with other values for options of its parts (None: as it is); the prompter takes those that it knows.

        Raises OptionError for an option that the backbone does not have, MissingExtraError when the part cannot be asked.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        if not given:
            return self
        backbone, prompter = self.entries()
        known = options_of(backbone)
        for key in given:
            if key not in known:
                raise OptionError(
                    f"--{key} cannot be used with the preset '{self.name}': its backbone '{self.backbone}' has no such option; "
                    f"it has {', '.join(known) or 'none'}"
                )
        words = {key: value for key, value in given.items() if key in options_of(prompter)}
        return replace(self, backbone_options={**self.backbone_options, **given}, prompter_options={**self.prompter_options, **words})

    def check(self, **overrides: Any) -> Settings:
        """The chain's settings with ``overrides`` (None leaves the preset's value), checked before any weights are loaded."""
        values = {**self.chain, **{key: value for key, value in overrides.items() if value is not None}}
        return Settings(user_prompt=values.pop("prompt", ""), **values)

    def build(self, store: Store | None = None, **overrides: Any) -> Chain:
        """A Chain with its weights loaded; ``overrides`` as for check.

        Packages and weights of both parts are looked for before either is loaded: MissingExtraError, WeightsError.
        """
        settings, store = self.check(**overrides), store or Store()
        for entry in self.all_entries():
            if entry.missing():
                entry.load()
        if lacking := store.lacking([self.backbone_options, self.prompter_options]):
            raise WeightsError(f"the preset '{self.name}' needs weights that are not here: chainzoom models fetch {' '.join(lacking)}")
        painting = _placed(store.resolve_options(self.backbone_options), dtype=True)
        wording = _placed(store.resolve_options(self.prompter_options), dtype=False)
        backbone = build_backbone(self.backbone, painting)
        prompter = None if self.prompter == "null" else build_prompter(self.prompter, wording)
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
    preset.all_entries()
    for model in preset.models():
        try:
            find_model(model)
        except OptionError as error:
            raise PresetError(f"preset {origin}: {error}") from None
    return preset


def _placed(options: Mapping[str, Any], *, dtype: bool) -> dict[str, Any]:
    """``auto`` replaced by what this machine has; ``dtype`` too, unless the part has an ``auto`` of its own for it."""
    placed = {key: _placed(value, dtype=dtype) if isinstance(value, Mapping) else value for key, value in options.items()}
    if placed.get("device") == "auto":
        torch = import_module("torch")
        placed["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype and placed.get("dtype") == "auto":
        placed["dtype"] = "float32" if str(placed.get("device", "cpu")).startswith("cpu") else "float16"
    return placed


def _refuse_unknown(origin: str, where: str, data: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            raise PresetError(f"preset {origin}: unknown key '{key}' in {where}; known are {', '.join(known)}")
