"""The run folder: run.json and the states, written so that a kill at any moment loses nothing finished.

DIR/run.json        what was seen and what was invented, step by step; always valid JSON
DIR/states/K.png    the states
DIR/.resume/K.npy   the last state in float32, so that a resumed run goes on from the same numbers; removed at the end
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import filelock
import numpy as np

from chainzoom.atomic import atomic_path, output_error, remove_leftovers, write_bytes
from chainzoom.backbones.base import Choice
from chainzoom.errors import OutputError
from chainzoom.images import frozen
from chainzoom.photos import Photo
from chainzoom.pictures import write_png
from chainzoom.prompters.base import Prompt
from chainzoom.provenance import Provenance
from chainzoom.regions import Region
from chainzoom.step import Consistency, Seconds, Step
from chainzoom.weights import Weights, sha256_of

SCHEMA = "chainzoom.run/1"
RECORD = "run.json"
ARTEFACTS = ("strip.png", "zoom.mp4", "index.html", "samples.json")
_LOCK = ".lock"
_RESUME = ".resume"
_EMPTY = frozen(np.zeros((0, 0, 3), np.float32))


def read_record(folder: Path) -> dict[str, Any]:
    """The run.json of a folder. Raises OutputError when there is none or it is not one of ours."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; is {folder} the folder of a run?") from None
    except ValueError:
        raise OutputError(f"{path} is not valid JSON; use --overwrite to start again") from None
    found = record.get("schema") if isinstance(record, dict) else type(record).__name__
    if not isinstance(record, dict) or found != SCHEMA or not {"source", "status", "steps"} <= record.keys():
        raise OutputError(f"{path} should be a whole record of schema {SCHEMA}, it says {found}; use --overwrite to start again")
    return record


def source_of(photo: Photo) -> dict[str, Any]:
    """The ``source`` of a record."""
    return {
        "path": str(photo.path),
        "sha256": photo.sha256,
        "width": photo.width,
        "height": photo.height,
        "bits": photo.bits,
        "icc_profile": photo.icc_profile_name,
        "notes": list(photo.notes),
    }


@dataclass
class RunFolder:
    """An open run folder, locked against other runs; use as a context manager.

    header  everything that decides the pixels, as written at the top of run.json
    done    the steps that an earlier run finished; all but the last without pixels
    """

    path: Path
    header: dict[str, Any]
    depth: Literal[8, 16]
    done: list[Step]
    record: dict[str, Any]
    _lock: filelock.BaseFileLock

    @classmethod
    def open(
        cls, path: Path, header: Mapping[str, Any], *, depth: Literal[8, 16] = 8, resume: bool = False, overwrite: bool = False
    ) -> RunFolder:
        """Create or reopen a folder. Nothing is written when it cannot be used.

        Raises OutputError when the folder holds other things and neither ``resume`` nor ``overwrite`` is set, when it holds another
        zoom (``resume``), when another run is writing to it, or when it cannot be written.
        """
        check_folder(path, header, resume=resume, overwrite=overwrite)
        try:
            (path / "states").mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path / _LOCK, timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise OutputError(f"another run is writing to {path}; wait for it or choose another --out") from None
        except OSError as error:
            raise output_error(path, error) from error
        try:
            check_folder(path, header, resume=resume, overwrite=overwrite)
            for part in (path, path / "states"):
                remove_leftovers(part)
            folder = cls(path, dict(header), depth, [], {}, lock)
            folder._begin(resume)
        except BaseException:
            lock.release()
            raise
        return folder

    def _begin(self, resume: bool) -> None:
        old = read_record(self.path) if resume and (self.path / RECORD).exists() else None
        if old is None:
            for name in (RECORD, *ARTEFACTS):
                (self.path / name).unlink(missing_ok=True)
            for name in ("states", _RESUME):
                shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / "states").mkdir(exist_ok=True)
            self.record = {"schema": SCHEMA, **self.header, "status": "running", "steps": []}
        else:
            self.done = self._finished(old)
            self.record = {**old, "status": "running", "steps": old["steps"][: len(self.done)]}
            if old["status"] == "complete" and len(self.done) == len(old["steps"]):
                self.record["status"] = "complete"
        self._write()

    def _finished(self, old: dict[str, Any]) -> list[Step]:
        """The steps of an earlier run that need not be made again."""
        count = 0
        for entry in old["steps"]:
            file = self.path / entry["file"]
            if not file.is_file() or sha256_of(file) != entry["sha256"]:
                break
            count += 1
        if old["status"] == "complete" and count == len(old["steps"]):
            return [_step_of(entry) for entry in old["steps"]]
        for last in range(count - 1, -1, -1):
            pixels = self.path / _RESUME / f"{last}.npy"
            with suppress(OSError, ValueError):
                image = np.load(pixels, allow_pickle=False)
                if image.dtype == np.float32 and image.ndim == 3 and np.isfinite(image).all():
                    return [*(_step_of(entry) for entry in old["steps"][:last]), _step_of(old["steps"][last], frozen(image))]
        return []

    @property
    def complete(self) -> bool:
        """Whether every state is there."""
        return bool(self.record["status"] == "complete")

    def add(self, step: Step) -> dict[str, Any]:
        """Write a state, its float32 pixels and the record; returns the step's entry. Raises OutputError."""
        resume = self.path / _RESUME
        try:
            resume.mkdir(exist_ok=True)
            with atomic_path(resume / f"{step.index}.npy") as part:
                np.save(part, step.image)
        except OSError as error:
            raise output_error(resume, error) from error
        name = f"states/{step.index}.png"
        entry = _entry_of(step, name)
        picture = write_png(self.path / name, step.image, depth=self.depth, alpha=step.alpha, provenance=provenance_of(self.header, entry))
        entry["sha256"] = hashlib.sha256(picture).hexdigest()
        self.record["steps"] = [*self.record["steps"][: step.index], entry]
        self._write()
        for old in resume.glob("*.npy"):
            if old.stem != str(step.index):
                old.unlink(missing_ok=True)
        return entry

    def finish(self) -> None:
        """Mark the states as complete; the float32 copy is no longer needed."""
        self.record["status"] = "complete"
        self._write()
        shutil.rmtree(self.path / _RESUME, ignore_errors=True)

    def interrupted(self) -> None:
        """Mark the run as stopped before its end; it can be resumed."""
        self.record["status"] = "interrupted"
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.record, ensure_ascii=False, indent=2, allow_nan=False)
        write_bytes(self.path / RECORD, (text + "\n").encode())

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and self.record.get("status") == "running":
            with suppress(OutputError):
                self.interrupted()
        self._lock.release()


def provenance_of(header: Mapping[str, Any], entry: Mapping[str, Any]) -> Provenance:
    """What a state's picture says of itself, from the top of run.json and the state's entry in it."""
    synthesised = entry["kind"] == "synthesised"
    return Provenance(
        source_sha256=header["source"]["sha256"],
        scale=entry["scale"],
        synthesised=synthesised,
        weights=_weights_of(entry),
        region=tuple(entry["region"]),
        prompt=entry["prompt"] if synthesised else "",
        seed=entry["seed"] if synthesised else None,
        synthesised_from=header.get("synthesised_from"),
        generative=bool(header.get("generative", False)),
    )


def check_folder(path: Path, header: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
    """Raise OutputError unless a run may write to ``path``; writes nothing."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise OutputError(f"--out {path}: {nearest} is a file; give a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"--out {path}: permission denied in {nearest}; choose a folder that you may write to")
    try:
        inside = [entry.name for entry in path.iterdir() if entry.name != _LOCK and not _is_empty(entry)] if path.exists() else []
    except OSError as error:
        raise output_error(path, error) from error
    if not inside or overwrite:
        return
    if not resume or RECORD not in inside:
        hint = "--resume to continue it or --overwrite to replace it" if RECORD in inside else "an empty folder, or --overwrite"
        raise OutputError(f"--out {path} is not empty; use {hint}")
    old = read_record(path)
    if old["source"]["sha256"] != header["source"]["sha256"]:
        raise OutputError(f"{path / RECORD} belongs to another photo ({old['source']['path']}); choose another --out or use --overwrite")
    for key, value in header.items():
        if key not in ("source", "command") and old.get(key) != json.loads(json.dumps(value)):
            raise OutputError(
                f"{path / RECORD} was made with {key} = {old.get(key)!r}, now it is {value!r}; a resumed run must be the same"
            )


def _is_empty(entry: Path) -> bool:
    return entry.name == "states" and entry.is_dir() and not any(entry.iterdir())


def _weights_of(entry: Mapping[str, Any]) -> tuple[Weights, ...]:
    return tuple(Weights(**item) for item in ([entry["weights"]] if entry["weights"] else []) + entry["more_weights"])


def _entry_of(step: Step, file: str) -> dict[str, Any]:
    """A step as run.json holds it."""
    return {
        "index": step.index,
        "scale": step.scale,
        "factor": step.factor,
        "kind": step.kind,
        "region": list(step.region.as_tuple()),
        "prompt": step.prompt.text,
        "prompt_source": step.prompt.source,
        "prompt_tags": [[word, confidence] for word, confidence in step.prompt.tags],
        "prompt_notes": list(step.prompt.notes),
        "backbone": step.backbone,
        "choice": _choice_entry(step.choice),
        "weights": asdict(step.weights[0]) if step.weights else None,
        "more_weights": [asdict(weights) for weights in step.weights[1:]],
        "prompter_weights": [asdict(weights) for weights in step.prompter_weights],
        "seed": step.seed,
        "consistency_db": {key: round(value, 2) for key, value in asdict(step.consistency).items()} if step.consistency else None,
        "seconds": {key: round(value, 4) for key, value in asdict(step.seconds).items()},
        "file": file,
        "sha256": "",
    }


def _choice_entry(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {"shares": {name: round(share, 4) for name, share in choice.shares}, "evidence": round(choice.evidence, 4), "why": choice.why}


def _choice_of(entry: Mapping[str, Any] | None) -> Choice | None:
    """None too for records from before there was a choice. The weights of the parts are the step's."""
    return Choice(tuple(entry["shares"].items()), entry["evidence"], entry["why"]) if entry else None


def _step_of(entry: Mapping[str, Any], image: Any = _EMPTY) -> Step:
    """The inverse of _entry_of, as far as resuming needs it."""
    prompt = Prompt(
        entry["prompt"], entry["prompt_source"], tuple((word, value) for word, value in entry["prompt_tags"]), tuple(entry["prompt_notes"])
    )
    return Step(
        entry["index"],
        entry["scale"],
        entry["factor"],
        Region(*entry["region"]),
        entry["kind"],
        image,
        prompt=prompt,
        backbone=entry["backbone"],
        weights=_weights_of(entry),
        prompter_weights=tuple(Weights(**item) for item in entry["prompter_weights"]),
        seed=entry["seed"],
        consistency=Consistency(**entry["consistency_db"]) if entry["consistency_db"] else None,
        seconds=Seconds(**entry["seconds"]),
        choice=_choice_of(entry.get("choice")),
    )
