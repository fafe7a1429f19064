"""Who sees what in which order. Everything follows from the seed; no page names a method.

A *set* is one screen: the pictures (or the words) that the methods made of one scene, each an *item* to be scored from 1 to 5. The order of
the sets is shuffled for every rater, pictures first. Within a set the items are rotated through the positions, so that among as many raters
as there are items each item stands once in every place.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from chainzoom.errors import OptionError
from chainzoom.evaluation.study.collect import Scene, State
from chainzoom.seeds import derive

SCHEMA = "chainzoom.study/1"
Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
MOST_RATERS, MOST_SCALES = 10_000, 6
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True)
class Item:
    """What is scored. ``methods`` has more than one name when they made exactly the same."""

    id: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """One screen; ``scene`` is the name of the place shown."""

    id: str
    kind: Kind
    scene: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """The key of a study. ``raters`` are codes; their order of presentation follows from ``seed`` (see order)."""

    id: str
    title: str
    seed: int
    sets: tuple[Set, ...]
    raters: tuple[str, ...]

    def order(self, rater: str) -> list[tuple[int, list[int]]]:
        """(index of a set, indices of its items in the order shown) for one rater."""
        number = self.raters.index(rater)
        out = []
        for kind in KINDS:
            places = [k for k, one in enumerate(self.sets) if one.kind == kind]
            _shuffle(places, self.seed, "sets", kind, number)
            for place in places:
                items = list(range(len(self.sets[place].items)))
                turn, block = number % len(items), number // len(items)
                _shuffle(items, self.seed, "items", self.sets[place].id, block)
                out.append((place, items[turn:] + items[:turn]))
        return out

    def to_json(self) -> dict[str, Any]:
        """The key file."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Study:
        """The inverse of to_json; KeyError or TypeError when it is no key."""
        sets = tuple(
            Set(one["id"], one["kind"], one["scene"], tuple(Item(item["id"], tuple(item["methods"])) for item in one["items"]))
            for one in data["sets"]
        )
        return cls(data["id"], data["title"], int(data["seed"]), sets, tuple(data["raters"]))


def design(
    scenes: Sequence[Scene], *, raters: int, image_sets: int, text_sets: int, seed: int, title: str, hashes: dict[str, dict[str, str]]
) -> Study:
    """Choose the scenes and lay the study out.

    ``hashes`` gives, by scene and method, a digest of all its pictures, so that equal ones are shown once. Scenes for words are others than
    those for pictures as long as there are enough; methods without words have no text items. Raises OptionError for impossible numbers.
    """
    if not 1 <= raters <= MOST_RATERS:
        raise OptionError(f"--raters takes a number from 1 to {MOST_RATERS}; got {raters}")
    if image_sets < 0 or text_sets < 0 or image_sets + text_sets == 0:
        raise OptionError(f"a study needs at least one set; got --image-sets {image_sets} and --text-sets {text_sets}")
    drawn = list(range(len(scenes)))
    _shuffle(drawn, seed, "scenes")
    sets = [_set("image", scenes[k], {m: hashes[scenes[k].name][m] for m in scenes[k].methods}, seed) for k in drawn]
    images = [one for one in sets if len(one.items) > 1][:image_sets]
    shown = {one.scene for one in images}
    texts = [_set("text", scenes[k], words_of(scenes[k]), seed) for k in sorted(drawn, key=lambda k: scenes[k].name in shown)]
    chosen = images + [one for one in texts if len(one.items) > 1][:text_sets]
    if not chosen:
        raise OptionError("nothing to compare: the methods made the same pictures and the same words everywhere")
    chosen.sort(key=lambda one: one.id)
    codes = _codes(raters, seed)
    print_of = hashlib.sha256(json.dumps([title, seed, [asdict(one) for one in chosen], codes, hashes], sort_keys=True).encode())
    return Study(print_of.hexdigest()[:12], title, seed, tuple(chosen), tuple(codes))


def words_of(scene: Scene) -> dict[str, str]:
    """The words of each method that has any, joined over the scales."""
    joined = {method: "\n".join(state.words for state in thinned(states)) for method, states in scene.methods.items()}
    return {method: words for method, words in joined.items() if words.strip()}


def thinned(states: Sequence[State]) -> list[State]:
    """At most ``MOST_SCALES`` of the states, evenly spaced, the last one always."""
    if len(states) <= MOST_SCALES:
        return list(states)
    return [states[round((k + 1) * len(states) / MOST_SCALES) - 1] for k in range(MOST_SCALES)]


def _set(kind: Kind, scene: Scene, content: dict[str, str], seed: int) -> Set:
    """A set whose items are the different contents, under names that tell nothing."""
    groups: dict[str, list[str]] = {}
    for method, value in content.items():
        groups.setdefault(value, []).append(method)
    items = [Item(f"{derive(seed, kind, scene.name, *methods):012x}", tuple(methods)) for methods in groups.values()]
    return Set(f"{derive(seed, kind, scene.name):012x}", kind, scene.name, tuple(sorted(items, key=lambda item: item.id)))


def _codes(count: int, seed: int) -> list[str]:
    """Rater codes that cannot be guessed from one another or mistyped into one another easily."""
    rng, codes = random.Random(derive(seed, "raters")), list[str]()
    while len(codes) < count:
        code = "".join(rng.choice(_LETTERS) for _ in range(5))
        if all(sum(a != b for a, b in zip(code, other, strict=True)) > 1 for other in codes):
            codes.append(code)
    return codes


def _shuffle(values: list[int], seed: int, *parts: str | int) -> None:
    random.Random(derive(seed, "study", *parts)).shuffle(values)
