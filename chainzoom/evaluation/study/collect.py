"""What the methods of a study made of each photo.

Read from the results of an evaluation (``eval.json``), else from every ``run.json`` below a folder, or, for pictures that chainzoom did not
make, from ``manifest.json`` in it:

    {"schema": "chainzoom.study.manifest/1", "photos": [
       {"name": "cat", "whole": "cat.png", "closest": "cat_crop.png", "box": [0.4, 0.4, 0.6, 0.6],
        "methods": {"ours": [{"scale": 4, "picture": "ours/cat_4x.png", "words": "fur"}], "theirs": [...]}}]}

``whole`` is the photo, ``box`` the part zoomed into as fractions of it, ``closest`` the last view of real pixels.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainzoom.errors import OutputError
from chainzoom.evaluation.plan import PLAN, read_plan
from chainzoom.evaluation.sampling import RECORD as SAMPLES
from chainzoom.records import RECORD, read_record
from chainzoom.report.frames import Box

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "chainzoom.study.manifest/1"
_DECIDES = ("mode", "protocol", "align", "consistency", "step", "user_prompt", "size", "seed", "parts")


@dataclass(frozen=True, slots=True)
class State:
    """A synthesised state: its scale, its picture's file, and the words that steered it."""

    scale: float
    picture: Path
    words: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A point in a photo and what each method made of it; all methods have the same scales, in rising order.

    whole    file of the whole photo         closest  file of the last view of real pixels
    box      the part of the whole that the deepest state shows, in fractions
    """

    name: str
    whole: Path
    closest: Path
    box: Box
    methods: dict[str, tuple[State, ...]]

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales of every method."""
        return tuple(state.scale for state in next(iter(self.methods.values())))


def collect(results: Path) -> tuple[list[Scene], list[str]]:
    """The scenes that every method has, sorted by name, and a line for each thing left out.

    Raises OutputError when there is nothing to compare: no runs, or fewer than two methods.
    """
    if not results.is_dir():
        raise OutputError(f"expected a folder of results, got {results}; give one that holds runs of chainzoom zoom or a {MANIFEST}")
    if (results / MANIFEST).is_file():
        scenes, notes = _of_manifest(results / MANIFEST), list[str]()
    else:
        scenes, notes = _of_runs(results)
    everyone = sorted({method for scene in scenes for method in scene.methods})
    if len(everyone) < 2:
        raise OutputError(f"a study compares two or more methods; {results} holds {', '.join(everyone) or 'no finished run'}")
    whole = []
    for scene in scenes:
        missing = [method for method in everyone if method not in scene.methods]
        if missing:
            notes.append(f"{scene.name}: left out, {', '.join(missing)} did not zoom into it")
            continue
        common = set.intersection(*({state.scale for state in states} for states in scene.methods.values()))
        if not common:
            notes.append(f"{scene.name}: left out, the methods share no scale")
            continue
        kept = {name: tuple(state for state in scene.methods[name] if state.scale in common) for name in everyone}
        whole.append(replace(scene, methods=kept))
    if not whole:
        raise OutputError(f"no photo in {results} was zoomed into by all of {', '.join(everyone)}; run the missing ones first")
    return sorted(whole, key=lambda scene: scene.name), notes


def _of_runs(results: Path) -> tuple[list[Scene], list[str]]:
    groups: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    notes: list[str] = []
    for path in sorted(results.rglob(RECORD)):
        folder = path.parent
        if folder.parent.name == "samples" and (folder.parents[1] / SAMPLES).exists():
            continue
        try:
            record = read_record(folder)
        except OutputError as error:
            notes.append(str(error))
            continue
        if record["status"] != "complete" or not any(step["kind"] == "synthesised" for step in record["steps"]):
            notes.append(f"{folder}: left out, its zoom is {record['status']} and has {len(record['steps'])} states")
            continue
        groups[record["source"]["sha256"], json.dumps([record["at"], record["to"]])].append((folder, record))
    labels = _labels([record for runs in groups.values() for _, record in runs])
    plan = _of_evaluation(results)
    scenes: list[Scene] = []
    for runs in groups.values():
        first, record = runs[0]
        methods: dict[str, tuple[State, ...]] = {}
        for folder, run in runs:
            label = plan.labels.get(folder.parent.name, folder.parent.name) if plan else labels[_identity(run)]
            if label in methods:
                notes.append(f"{folder}: left out, {label} has zoomed into the same point already")
                continue
            made = [step for step in run["steps"] if step["kind"] == "synthesised" and (not plan or _near(step["scale"], plan.scales))]
            methods[label] = tuple(State(round(step["scale"], 6), folder / step["file"], step["prompt"]) for step in made)
        steps = record["steps"]
        closest = [step for step in steps if step["kind"] != "synthesised"][-1]
        width, height = record["source"]["width"], record["source"]["height"]
        x0, y0, x1, y1 = steps[-1]["region"]
        box = (x0 / width, y0 / height, x1 / width, y1 / height)
        name = f"{Path(record['source']['path']).stem} at {record['at'][0]:g},{record['at'][1]:g}"
        scenes.append(Scene(name, first / steps[0]["file"], first / closest["file"], box, methods))
    return scenes, notes


@dataclass(frozen=True, slots=True)
class _Evaluation:
    labels: dict[str, str]
    scales: tuple[float, ...]


def _of_evaluation(results: Path) -> _Evaluation | None:
    """What an evaluation's plan calls its methods, by folder, and the scales that it is about; None when it is no evaluation."""
    if not (results / PLAN).is_file():
        return None
    plan = read_plan(results)
    shared = [method.label for method in plan.methods]
    return _Evaluation({m.name: m.label if shared.count(m.label) == 1 else m.name for m in plan.methods}, plan.scales)


def _near(scale: float, scales: Sequence[float]) -> bool:
    return any(abs(scale / one - 1) < 1e-6 for one in scales)


def _identity(record: dict[str, Any]) -> str:
    return json.dumps([record["preset"], *(record.get(key) for key in _DECIDES)], sort_keys=True)


def _labels(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """A name for each configuration: the preset's, with whatever tells it from others of that preset."""
    by_preset: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for record in records:
        by_preset[record["preset"]][_identity(record)] = record
    labels = {}
    for preset, found in by_preset.items():
        differ = [key for key in _DECIDES if len({json.dumps(record.get(key), sort_keys=True) for record in found.values()}) > 1]
        for identity, record in found.items():
            labels[identity] = " ".join([preset, *(_said(key, record.get(key)) for key in differ)])
    return labels


def _said(key: str, value: Any) -> str:
    if key == "parts":
        return "+".join(part["name"] for part in value.values())
    return str(value) if key in ("mode", "protocol") else f"{key}={value}"


def _of_manifest(path: Path) -> list[Scene]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != MANIFEST_SCHEMA:
            raise OutputError(f"{path} should have the schema {MANIFEST_SCHEMA}; it says {data['schema']!r}")
        return [_scene(path.parent, entry) for entry in data["photos"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path} is not a manifest that can be used ({type(error).__name__}: {error}); see docs/study.md") from None


def _scene(root: Path, entry: dict[str, Any]) -> Scene:
    methods = {
        str(name): tuple(
            sorted((State(float(s["scale"]), root / s["picture"], str(s.get("words", ""))) for s in states), key=lambda s: s.scale)
        )
        for name, states in entry["methods"].items()
    }
    x0, y0, x1, y1 = (float(value) for value in entry.get("box", (0, 0, 1, 1)))
    return Scene(str(entry["name"]), root / entry["whole"], root / entry.get("closest", entry["whole"]), (x0, y0, x1, y1), methods)
