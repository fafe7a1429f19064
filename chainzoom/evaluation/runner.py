"""Run what is missing: every method on every picture, each into a run folder of its own.

A picture that fails never stops the others; it is written down with its reason. Ctrl-C leaves whole files only, and the same command goes
on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainzoom.atomic import write_bytes
from chainzoom.chain import Chain
from chainzoom.errors import ChainzoomError, OutputError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.plan import FAILURES, EvalPlan
from chainzoom.evaluation.protocol import Method
from chainzoom.photos import Photo
from chainzoom.presets import Preset
from chainzoom.records import RECORD, RunFolder, read_record, source_of
from chainzoom.settings import Settings
from chainzoom.version import __version__

Failures = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one run: ``made`` now, ``kept`` from before, or ``failed`` with a reason."""

    method: Method
    item: Item
    outcome: str
    reason: str = ""
    seconds: float = 0.0


def run_missing(plan: EvalPlan, out: Path) -> Iterator[Done]:
    """Run every method on every picture unless it is there already; yields each as it is done.

    Raises OutputError when the folder holds runs of other settings, or cannot be written to.
    """
    plan.write(out)
    failures = read_failures(out)
    for method in plan.methods:
        preset = method.load()
        chain: Chain | None = None
        for item in plan.items:
            folder = plan.run_folder(out, method, item)
            if _finished(folder, plan, method, preset, item):
                done = Done(method, item, "kept")
            else:
                try:
                    chain = chain or preset.build(**plan.settings(method))
                except ChainzoomError as error:  # a method that cannot be loaded fails on every picture, and says why once each
                    done = Done(method, item, "failed", str(error))
                else:
                    done = _run(folder, plan, method, preset, chain, item)
            _note(failures, done)
            if done.outcome != "kept":
                write_bytes(out / FAILURES, (json.dumps(failures, ensure_ascii=False, indent=1) + "\n").encode())
            yield done


def read_failures(out: Path) -> Failures:
    """Method -> picture -> reason, of the last run."""
    with suppress(OSError, ValueError):
        found: Failures = json.loads((out / FAILURES).read_text(encoding="utf-8"))
        return found
    return {}


def _note(failures: Failures, done: Done) -> None:
    if done.outcome == "failed":
        failures.setdefault(done.method.name, {})[done.item.name] = done.reason
    elif done.method.name in failures:
        failures[done.method.name].pop(done.item.name, None)


def _run(folder: Path, plan: EvalPlan, method: Method, preset: Preset, chain: Chain, item: Item) -> Done:
    seconds = 0.0
    try:
        photo = Photo.open(item.path)
        chain = copy(chain)
        chain.settings = _settings(plan, method, preset, item)
        header = _header(plan, method, preset, photo, item) | {"generative": chain.backbone.facts.generative}
        again = _same(folder, header)
        with RunFolder.open(folder, header, resume=again, overwrite=not again) as run:
            seed = plan.seed if method.seed is None else method.seed
            for step in chain.run(photo, to=plan.to, seed=seed, done=run.done):
                run.add(step)
                seconds += step.seconds.total
            run.finish()
    except OutputError:
        raise  # a full disk or a foreign folder is not the picture's fault
    except Exception as error:
        return Done(method, item, "failed", _reason(error), seconds)
    return Done(method, item, "made", seconds=seconds)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ChainzoomError) else f"{type(error).__name__}: {text}"


def _settings(plan: EvalPlan, method: Method, preset: Preset, item: Item) -> Settings:
    """The method's settings, with the item's material among the user's words."""
    settings = preset.check(**plan.settings(method))
    words = ", ".join(filter(None, (settings.user_prompt, item.material)))
    return replace(settings, user_prompt=words)


def _header(plan: EvalPlan, method: Method, preset: Preset, photo: Photo, item: Item) -> dict[str, Any]:
    """The top of run.json; the same keys as a zoom of the command line, so that ``chainzoom report`` draws it."""
    settings = _settings(plan, method, preset, item)
    return {
        "version": __version__,
        "command": plan.command,
        "source": source_of(photo),
        **_choices(plan, method, preset, item),
        "synthesised_from": min((state.scale for state in settings.plan(photo, to=plan.to) if state.kind == "synthesised"), default=None),
    }


def _choices(plan: EvalPlan, method: Method, preset: Preset, item: Item) -> dict[str, Any]:
    """What decides the pixels, beside the photo's own."""
    settings = _settings(plan, method, preset, item)
    return {
        "preset": preset.name,
        "parts": preset.parts(),
        "mode": settings.mode,
        "protocol": settings.protocol,
        "seed": plan.seed if method.seed is None else method.seed,
        "at": [0.5, 0.5],
        "to": float(plan.to),
        "size": settings.size,
        "align": settings.align,
        "consistency": float(settings.consistency),
        "step": settings.step,
        "user_prompt": settings.user_prompt,
        "depth": 8,
    }


def _finished(folder: Path, plan: EvalPlan, method: Method, preset: Preset, item: Item) -> bool:
    """Whether the run is there, whole and the same. Raises OutputError when a whole run of other settings is in its place."""
    if not (folder / RECORD).is_file():
        return False
    try:
        record = read_record(folder)
    except OutputError:
        return False
    if record["status"] != "complete" or not all((folder / step["file"]).is_file() for step in record["steps"]):
        return False
    for key, value in _choices(plan, method, preset, item).items():
        if record.get(key) != json.loads(json.dumps(value)):
            raise OutputError(f"{folder} was made with {key} = {record.get(key)!r}, now it is {value!r}; choose another --out")
    return True


def _same(folder: Path, header: dict[str, Any]) -> bool:
    """Whether an unfinished run may be gone on with."""
    try:
        record = read_record(folder)
    except OutputError:
        return False
    old = {key: record.get(key) for key in header if key not in ("command", "source")}
    new = json.loads(json.dumps({key: value for key, value in header.items() if key not in ("command", "source")}))
    return bool(old == new and record["source"]["sha256"] == header["source"]["sha256"])
