"""The evaluations that ``--textures`` adds to one of photos, each an ordinary results folder under OUT/surfaces.

OUT/                  photos (chainzoom eval as ever)
OUT/surfaces/textures held-out surfaces, prompted with their own material, from several seeds
OUT/surfaces/named    the photos, each prompted with every material
OUT/surfaces/words    blurred inputs, each with every material as its prompt, and with none; wordless: methods that take no words
OUT/surfaces/seeds    some photos from a second seed
OUT/surfaces/depth    some photos to 65 536x
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chainzoom.atomic import write_bytes
from chainzoom.backbones.base import BackboneFacts
from chainzoom.errors import ChainzoomError, OptionError, OutputError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.metrics.moments import Network
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.protocol import Method, method
from chainzoom.evaluation.surfaces.inputs import blurred_items, surface_items
from chainzoom.evaluation.surfaces.textures import Texture
from chainzoom.settings import INTERPOLATIONS

FOLDER, CHOICES = "surfaces", "choices.json"
PARTS = ("textures", "named", "words", "seeds", "depth")
METRICS = ("niqe", "detail", "grid", "repetition", "colour-drift", "consistency-raw", "consistency-step", "consistency-end")
WORDS_SIZE = 256
DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Choices:
    """What decides the added evaluations.

    textures    prepared folders; the held-out split of all of them is used
    materials   materials to prompt and to tell apart
    parts       which of PARTS are made
    inputs      blurred inputs; steps: how many each is taken through
    surfaces    held-out surfaces to zoom into
    draws       seeds from which stochastic methods zoom into surfaces: a distance needs many draws, and many inputs more
    seeds       photos that are zoomed into from a second seed as well
    depth       photos that are zoomed into to 4^8
    network     whose features are compared
    """

    textures: tuple[str, ...]
    materials: tuple[str, ...]
    parts: tuple[str, ...] = PARTS
    inputs: int = 20
    steps: int = 4
    surfaces: int = 80
    draws: int = 2
    seeds: int = 8
    depth: int = 4
    network: Network = "vgg16"

    def write(self, out: Path) -> None:
        """Write them beside the results. Raises OutputError."""
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        write_bytes(out / FOLDER / CHOICES, (json.dumps(asdict(self), indent=1) + "\n").encode())


def read_choices(out: Path) -> Choices | None:
    """The choices of a results folder, or None. Raises OutputError when the file is damaged."""
    path = out / FOLDER / CHOICES
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return Choices(**fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{path} is not whole ({error}); run the evaluation with --textures again") from None


def plans_of(photos: EvalPlan, choices: Choices, textures: tuple[Texture, ...], out: Path) -> dict[str, EvalPlan]:
    """The added evaluations by part. Raises OptionError where the prepared folders hold too little."""
    made: dict[str, EvalPlan] = {}
    base = replace(photos, metrics=METRICS, absent={})
    facts = {one.name: _facts(one) for one in photos.methods}
    lively = [one for one in photos.methods if (known := facts[one.name]) and known.stochastic]
    worded = [one for one in photos.methods if (known := facts[one.name]) and known.uses_prompt]
    drawn = tuple(draw for one in photos.methods for draw in _draws(one, photos.seed, choices.draws if one in lively else 1))
    if "textures" in choices.parts:
        items = surface_items(textures, choices.materials, choices.surfaces, photos.size)
        if not items:
            raise OptionError(
                f"no held-out surface of {', '.join(choices.materials)} has {photos.size} pixels a side; choose a smaller --size"
            )
        note = "Held-out surfaces, each prompted with its own material."
        made["textures"] = replace(base, dataset=_dataset("held-out surfaces"), items=items, methods=drawn, note=note)
    if "named" in choices.parts:
        # Every photo with every material: which photo is to be brick must not decide the distance.
        items = tuple(replace(one, name=word_item(one.name, word), material=word) for one in photos.items for word in choices.materials)
        made["named"] = replace(base, items=items, note="Photos, each prompted with every material.")
    if "words" in choices.parts:
        blurred = blurred_items(textures, out / FOLDER / "blurred", choices.inputs, WORDS_SIZE, photos.seed)
        scales = tuple(4.0**k for k in range(1, choices.steps + 1))
        prompts = {"words": ("", *choices.materials), "wordless": ("",)}
        for part, words in prompts.items():
            # Words are given here, not guessed: a prompter would describe the blurred picture.
            methods = tuple(_silent(one) for one in photos.methods if (one in worded) == (part == "words"))
            asked = tuple(Item(word_item(one.name, word), one.path, None, word) for one in blurred for word in words)
            if methods:
                made[part] = EvalPlan(
                    _dataset("blurred inputs"), asked, methods, scales, METRICS, "native", WORDS_SIZE, photos.seed, {}, photos.command
                )
    if "seeds" in choices.parts and lively:
        pairs = tuple(other for one in lively for other in (one, _other(one, photos.seed + 1)))
        made["seeds"] = replace(base, items=photos.items[: choices.seeds], methods=pairs, note="The same zooms from two seeds.")
    if "depth" in choices.parts:
        scales = tuple(4.0**k for k in range(1, DEEPEST + 1))
        made["depth"] = replace(base, items=photos.items[: choices.depth], scales=scales, note="Eight steps, to 65 536x.")
    return made


def word_item(name: str, material: str) -> str:
    """The name of a blurred input with a prompt."""
    return f"{name}-{material.replace(' ', '_') or 'no_words'}"


def _facts(one: Method) -> BackboneFacts | None:
    """The facts of a method's backbone; None where it uses none, or cannot be built."""
    preset = one.load()
    if preset.check(**one.overrides()).mode in INTERPOLATIONS:
        return None
    try:
        return preset.build(**one.overrides()).backbone.facts
    except ChainzoomError:
        return None


def _draws(one: Method, seed: int, count: int) -> list[Method]:
    """The method from ``count`` seeds, the first as it is."""
    return [one, *(_other(one, seed + k) for k in range(1, count))]


def _other(one: Method, seed: int) -> Method:
    """The method from another seed."""
    return method(one.preset, {**one.changes, "seed": seed})


def _silent(one: Method) -> Method:
    """The method without a prompter, under the same name."""
    return Method(one.name, one.label, one.preset, {**one.changes, "prompter": "null"})


def _dataset(name: str) -> dict[str, str]:
    return {"name": name, "layout": "prepared", "split": "test"}
