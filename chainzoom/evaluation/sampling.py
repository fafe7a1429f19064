"""One zoom from several seeds: the runs, the maps of where they agree, and a verdict a scale.

DIR/                    the zoom from the seed asked for, a run folder like any other
DIR/samples/SEED/       the same zoom from each further seed, a run folder each (states and record)
DIR/agreement/K.png     state K: where the samples agree and where they do not
DIR/samples.json        seeds, shares and verdicts
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainzoom.atomic import output_error, write_bytes
from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.agreement_map import draw_agreement
from chainzoom.evaluation.samples import agreement, judge, verdict
from chainzoom.jobs import ZoomJob
from chainzoom.pictures import read_png, write_png
from chainzoom.records import provenance_of, read_record
from chainzoom.seeds import MAX_SEED

SCHEMA = "chainzoom.samples/1"
RECORD = "samples.json"
MOST = 256
CAUTION = "Agreement says that the model is sure, not that it is right; what is synthesised is never a record of what was there."


def sample_jobs(job: ZoomJob, count: int) -> list[ZoomJob]:
    """``job`` and its repetitions from the next ``count - 1`` seeds, checked, nothing written.

    Raises OptionError when the count makes no sense or every sample would be the same: the backbone ignores its seed, or the mode
    does not use the backbone.
    """
    if not 2 <= count <= MOST:
        raise OptionError(f"--samples takes a number from 2 to {MOST}; got {count}")
    seed, facts, mode = job.request.seed, job.chain.backbone.facts, job.chain.settings.mode
    if mode in ("bicubic", "nearest") or not facts.stochastic:
        who = f"mode {mode}" if mode in ("bicubic", "nearest") else f"the backbone {facts.name} of preset {job.preset.name}"
        raise OptionError(f"--samples needs a backbone whose output depends on the seed; {who} makes all {count} samples the same")
    if seed + count - 1 > MAX_SEED:
        raise OptionError(f"--samples {count} would pass the largest seed {MAX_SEED}; choose a --seed of at most {MAX_SEED - count + 1}")
    if not any(state.kind == "synthesised" for state in job.plan):
        raise OptionError("--samples compares synthesised states, and this zoom ends within the photo's own pixels; give a larger --to")
    out = job.request.out
    return [job, *(job.again(seed=other, out=out / "samples" / str(other)) for other in range(seed + 1, seed + count))]


def compare(folder: Path, runs: Sequence[Path]) -> Iterator[tuple[float, str]]:
    """Write the maps and samples.json of finished ``runs`` of the same zoom into ``folder``; yields (scale, verdict) state by state.

    Raises OutputError when a run is missing, unfinished or of another zoom.
    """
    records = [_finished(run) for run in runs]
    for run, record in zip(runs, records, strict=True):
        if _zoom_of(record) != _zoom_of(records[0]):
            raise OutputError(f"{run} is another zoom than {runs[0]}; samples differ in nothing but their seed")
    maps = folder / "agreement"
    try:
        maps.mkdir(exist_ok=True)
        for old in maps.glob("*.png"):
            old.unlink()
    except OSError as error:
        raise output_error(maps, error) from error
    states = []
    for entry in records[0]["steps"]:
        state, said = _state(folder, runs, records[0], entry)
        states.append(state)
        yield entry["scale"], said
    seeds = [record["seed"] for record in records]
    where = [run.relative_to(folder).as_posix() for run in runs]
    whole = {"schema": SCHEMA, "version": records[0]["version"], "seeds": seeds, "runs": where, "caution": CAUTION, "states": states}
    write_bytes(folder / RECORD, (json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def _state(folder: Path, runs: Sequence[Path], record: dict[str, Any], entry: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """One state's entry in samples.json, its map written, and its verdict."""
    index, scale = entry["index"], entry["scale"]
    if entry["kind"] != "synthesised" or scale <= 1:
        said = verdict(scale, None)
        return {"index": index, "scale": scale, "share": None, "detail": None, "judgement": "real", "verdict": said, "file": None}, said
    pictures = [read_png(run / entry["file"])[0] for run in runs]
    found = agreement(pictures, scale)
    said, name = verdict(scale, found), f"agreement/{index}.png"
    provenance = replace(provenance_of(record, entry), seed=None)
    write_png(folder / name, draw_agreement(pictures[0], found, said, len(runs)), provenance=provenance)
    figures = {"share": round(found.share, 4), "detail": round(found.detail, 3), "judgement": judge(found)}
    return {"index": index, "scale": scale, **figures, "verdict": said, "file": name}, said


def _finished(run: Path) -> dict[str, Any]:
    record = read_record(run)
    if record["status"] != "complete":
        raise OutputError(f"the sample in {run} is not complete but {record['status']}; --resume goes on with it")
    return record


def _zoom_of(record: dict[str, Any]) -> list[Any]:
    """What must be the same in all samples."""
    keys = ("preset", "parts", "mode", "protocol", "at", "to", "size", "align", "consistency", "step", "user_prompt")
    return [record["source"]["sha256"], [step["scale"] for step in record["steps"]], *(record.get(key) for key in keys)]
