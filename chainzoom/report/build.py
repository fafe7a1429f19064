"""From a finished run folder to the pictures people look at: strip.png, zoom.mp4 and index.html.

Everything is read back from the folder, so a report can be drawn again at any time and does not depend on who ran the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainzoom.atomic import write_bytes
from chainzoom.images import from_uint
from chainzoom.pictures import read_png, write_png
from chainzoom.provenance import Provenance, xmp
from chainzoom.records import provenance_of, read_record
from chainzoom.report.film import render_film
from chainzoom.report.frames import Frame, RunSummary
from chainzoom.report.page import render_page
from chainzoom.report.strip import render_strip
from chainzoom.weights import Weights


def load_run(folder: Path) -> tuple[list[Frame], RunSummary, dict[str, Any]]:
    """The states, the summary and the record of a run folder. Raises OutputError when it is not one."""
    record = read_record(folder)
    frames = [_frame(folder, step) for step in record["steps"]]
    made = [frame.scale for frame in frames if frame.synthesised]
    source = record["source"]
    summary = RunSummary(
        source_name=Path(source["path"]).name,
        source_sha256=source["sha256"],
        width=source["width"],
        height=source["height"],
        preset=record["preset"],
        mode=record["mode"],
        protocol=record["protocol"],
        at=(record["at"][0], record["at"][1]),
        to=record["to"],
        seed=record["seed"],
        version=record["version"],
        synthesised_from=min(made) if made else None,
        weights=_all_weights(record),
        notes=tuple(source["notes"]),
    )
    return frames, summary, record


def build_report(folder: Path, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write strip.png, zoom.mp4 and index.html; ``progress`` gets (frames done, frames in all) of the film. Returns the paths."""
    frames, summary, record = load_run(folder)
    strip, film, page = folder / "strip.png", folder / "zoom.mp4", folder / "index.html"
    provenance = Provenance(
        source_sha256=summary.source_sha256,
        scale=frames[-1].scale,
        synthesised=summary.synthesised_from is not None,
        weights=tuple({Weights(**step["weights"]): None for step in record["steps"] if step["weights"]}),
        seed=summary.seed,
        synthesised_from=summary.synthesised_from,
        generative=record["generative"],
    )
    write_png(strip, from_uint(render_strip(frames, summary)), provenance=provenance)
    render_film(frames, film, progress=progress, title=summary.source_name)
    entries = {entry["index"]: entry for entry in record["steps"]}

    def packet(frame: Frame) -> bytes:
        return xmp(provenance_of(record, entries[frame.index])).encode()

    text = render_page(frames, summary, film=film.name, command=record["command"], xmp=packet)
    write_bytes(page, text.encode())
    return [strip, film, page]


def _frame(folder: Path, step: dict[str, Any]) -> Frame:
    consistency, choice = step["consistency_db"] or {}, step.get("choice") or {"shares": {}, "why": ""}
    x0, y0, x1, y1 = step["region"]
    return Frame(
        index=step["index"],
        image=read_png(folder / step["file"])[0],
        scale=step["scale"],
        region=(x0, y0, x1, y1),
        synthesised=step["kind"] == "synthesised",
        prompt=step["prompt"],
        prompt_source=step["prompt_source"],
        tags=tuple((word, confidence) for word, confidence in step["prompt_tags"]),
        notes=tuple(step["prompt_notes"]),
        backbone=step["backbone"],
        seed=step["seed"],
        consistency_raw=consistency.get("raw"),
        consistency_corrected=consistency.get("corrected"),
        seconds=step["seconds"],
        file=step["file"],
        shares=tuple(choice["shares"].items()),
        why=choice["why"],
    )


def _all_weights(record: dict[str, Any]) -> tuple[Weights, ...]:
    """Every weight file of the run, once, in order of use."""
    seen: dict[Weights, None] = {}
    for step in record["steps"]:
        for item in ([step["weights"]] if step["weights"] else []) + step["more_weights"] + step["prompter_weights"]:
            seen[Weights(**item)] = None
    return tuple(seen)
