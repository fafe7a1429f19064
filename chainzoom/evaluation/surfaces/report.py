"""surfaces.md and surfaces.json: the figures of the added evaluations as tables and as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chainzoom.atomic import write_bytes
from chainzoom.evaluation.statistics import Interval
from chainzoom.evaluation.surfaces.judge import Floor
from chainzoom.evaluation.surfaces.measure import REAL, Row, SeedRow
from chainzoom.evaluation.surfaces.patches import Look
from chainzoom.evaluation.surfaces.recognition import Skill
from chainzoom.evaluation.surfaces.words import Recognition
from chainzoom.report.frames import scale_text

_HEADS: dict[str, tuple[str, int]] = {
    "niqe": ("NIQE ↓", 2),
    "detail": ("Detail →1", 2),
    "contrast": ("Contrast", 1),
    "grid": ("Grid ↓", 2),
    "repetition": ("Repetition ↓", 3),
    "colour-drift": ("Drift ΔE00 ↓", 2),
    "consistency-raw": ("Raw dB ↑", 1),
    "consistency-step": ("Corrected dB ↑", 1),
    "consistency-end": ("Whole zoom dB ↑", 1),
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was measured. ``baseline`` is the method that distances are given as multiples of, if any."""

    materials: tuple[str, ...]
    network: str
    real_groups: int
    skill: Skill
    floors: dict[Look, Floor]
    real: Row
    tables: dict[str, list[Row]]
    words: list[Recognition]
    seeds: list[SeedRow]
    baseline: str = ""


def write_findings(found: Findings, folder: Path) -> list[Path]:
    """Write surfaces.md and surfaces.json into ``folder``. Raises OutputError."""
    paths = [folder / "surfaces.md", folder / "surfaces.json"]
    write_bytes(paths[0], markdown(found).encode())
    write_bytes(paths[1], (json.dumps(asdict(found), indent=1, allow_nan=False) + "\n").encode())
    return paths


def markdown(found: Findings) -> str:
    """The tables."""
    parts = ["# Against real surfaces\n", _real(found)]
    titles = {
        "photos": "Photos",
        "textures": "Held-out surfaces, prompted with their own material",
        "named": "Photos, each prompted with every material",
        "depth": "Eight steps",
    }
    for name, rows in found.tables.items():
        parts.append(f"## {titles.get(name, name)}\n\n{_table(found, rows, real=name != 'depth')}")
    if found.words:
        parts.append(f"## Words\n\n{_words(found)}")
    if found.seeds:
        parts.append(f"## Two seeds\n\n{_seeds(found.seeds)}")
    return "\n".join(parts)


def _real(found: Findings) -> str:
    skill = found.skill
    lines = [
        f"Compared with held-out surfaces of {len(found.materials)} materials ({', '.join(found.materials)}; {found.real_groups} groups) "
        f"in features of {found.network}. KID is times 1000, with its 95 % interval; `grey`: without colour and contrast, the headline.\n",
        f"A recogniser of those materials names {skill.pictures:.0%} of real pictures and {skill.patches:.0%} of their patches rightly in "
        f"groups that it has not seen ({len(found.materials)} materials, chance {1 / len(found.materials):.0%}); by material: "
        + ", ".join(f"{name} {share:.0%}" for name, share in skill.by_material.items())
        + ".\n",
    ]
    for look, floor in found.floors.items():
        lines.append(f"Real against real, {look}: {_kid(floor.halves)} (halves of the held-out), {_kid(floor.train)} (training split).\n")
    return "\n".join(lines)


def _table(found: Findings, rows: Sequence[Row], real: bool) -> str:
    names = [name for name in _HEADS if any(name in row.medians for row in rows)]
    looks: list[Look] = [look for look in ("grey", "colour") if any(look in row.distances for row in rows)]
    base = {(row.scale, look): row.distances[look].mean for row in rows if row.method == found.baseline for look in row.distances}
    heads = ["method", "scale", "n", *(_HEADS[name][0] for name in names)]
    for look in looks:
        heads += [f"KID {look} ↓", f"× {found.baseline}"] if found.baseline else [f"KID {look} ↓"]
    lines = ["Medians over pictures.\n", "| " + " | ".join(heads) + " |", "|---|---:|" + "---:|" * (len(heads) - 2)]
    for row in [*([found.real] if real else []), *sorted(rows, key=lambda row: row.scale)]:
        cells = [row.method, scale_text(row.scale) if row.method != REAL else "–", str(row.pictures)]
        cells += [f"{row.medians[name]:.{_HEADS[name][1]}f}" if name in row.medians else "–" for name in names]
        for look in looks:
            interval, other = row.distances.get(look), base.get((row.scale, look))
            cells.append(_kid(interval) if interval else "–")
            if found.baseline:
                cells.append(f"{interval.mean / other:.2f}" if interval and other and other > 0 else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _words(found: Findings) -> str:
    head = ["method", "scale", "recognised", "shuffled (97.5 %)", *found.materials]
    lines = [
        "Share of states in which the prompted material is named, from inputs that hold no detail; "
        f"chance {1 / len(found.materials):.0%}.\n",
        "| " + " | ".join(head) + " |",
        "|---|---:|" + "---:|" * (len(head) - 2),
    ]
    for one in found.words:
        half = (one.share.high - one.share.low) / 2
        cells = [one.method, scale_text(one.scale), f"{one.share.mean:.0%} ±{half:.0%}", f"{one.shuffled[0]:.0%} ({one.shuffled[1]:.0%})"]
        lines.append("| " + " | ".join([*cells, *(f"{share:.0%}" for share in one.by_material.values())]) + " |")
    for one in found.words:
        lines += [f"\n{one.method} at {scale_text(one.scale)}: prompted (rows) and named (columns)\n"]
        lines += ["| | " + " | ".join(found.materials) + " |", "|---|" + "---:|" * len(found.materials)]
        counts = [("no words", one.wordless), *zip(found.materials, one.confusion, strict=True)]
        lines += [f"| {name} | " + " | ".join(str(value) for value in row) + " |" for name, row in counts]
    return "\n".join(lines) + "\n"


def _seeds(rows: Sequence[SeedRow]) -> str:
    lines = [
        "Root mean square difference of two seeds' states in grey levels: whole, and shrunk back to the photo's pixels.\n",
        "| method | scale | photos | whole | shrunk back | detail that differs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        shrunk = "–" if row.evidence is None else f"{row.evidence:.2f}"
        lines.append(f"| {row.method} | {scale_text(row.scale)} | {row.photos} | {row.full:.2f} | {shrunk} | {row.share:.0%} |")
    return "\n".join(lines) + "\n"


def _kid(interval: Interval) -> str:
    values: list[Any] = [1000 * v for v in (interval.mean, interval.low, interval.high)]
    return "{:.1f} ({:.1f} to {:.1f})".format(*values)
