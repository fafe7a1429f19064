"""Run and measure what ``--textures`` adds to an evaluation; what is there already is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainzoom.errors import OptionError
from chainzoom.evaluation.plan import PLAN, EvalPlan, read_plan
from chainzoom.evaluation.runner import run_missing
from chainzoom.evaluation.sheets import write_sheets
from chainzoom.evaluation.surfaces.inputs import named_materials
from chainzoom.evaluation.surfaces.judge import Judge
from chainzoom.evaluation.surfaces.measure import real_row, rows_of, seed_rows
from chainzoom.evaluation.surfaces.patches import Look
from chainzoom.evaluation.surfaces.pictures import write_word_sheets
from chainzoom.evaluation.surfaces.plans import FOLDER, PARTS, Choices, plans_of, read_choices
from chainzoom.evaluation.surfaces.reference import LOOKS
from chainzoom.evaluation.surfaces.report import Findings, write_findings
from chainzoom.evaluation.surfaces.textures import choose_materials, read_textures
from chainzoom.evaluation.surfaces.words import recognise
from chainzoom.settings import INTERPOLATIONS

Say = Callable[[str], None]


def choose(textures: tuple[Path, ...], materials: tuple[str, ...] = (), parts: tuple[str, ...] = PARTS, **more: Any) -> Choices:
    """Checked choices. Raises OptionError for folders that are none, unknown materials, or too few of them."""
    listed = [texture for folder in textures for texture in read_textures(folder)]
    known = {name for texture in listed for name in texture.materials}
    for name in materials:
        if name not in known:
            raise OptionError(f"--materials takes names out of {', '.join(sorted(known))}; got '{name}'")
    chosen = materials or choose_materials(listed)
    return Choices(tuple(str(folder.resolve()) for folder in textures), chosen, parts, **more)


def with_materials(plan: EvalPlan, folder: Path, choices: Choices) -> EvalPlan:
    """The plan of the photos with the materials that FOLDER/materials.json names."""
    return replace(plan, items=named_materials(folder, plan.items, choices.materials))


def run_added(plan: EvalPlan, out: Path, choices: Choices, say: Say) -> None:
    """Run what is missing of the added evaluations. Raises OptionError, OutputError."""
    choices.write(out)
    listed = tuple(texture for folder in choices.textures for texture in read_textures(Path(folder)))
    for name, added in plans_of(plan, choices, listed, out).items():
        total = len(added.methods) * len(added.items)
        for count, done in enumerate(run_missing(added, out / FOLDER / name), 1):
            if done.outcome != "kept":
                took = f" {done.seconds:.1f} s" if done.outcome == "made" else f"  {done.reason}"
                say(f"{name} {count}/{total}  {done.method.name}  {done.item.name}  {done.outcome}{took}")


def measure_added(plan: EvalPlan, out: Path, weights: Path, say: Say) -> list[Path]:
    """Measure stored runs and write surfaces.md, surfaces.json and sheets; returns the paths.

    Raises OptionError when there are no added evaluations, WeightsError without the archive of the network's weights.
    """
    choices = read_choices(out)
    if choices is None:
        raise OptionError(f"{out} holds no comparison with real surfaces; run the evaluation with --textures")
    folder = out / FOLDER
    paths = [Path(name) for name in choices.textures]
    judge = Judge(paths, weights, folder / "features", choices.materials, plan.seed, choices.network)
    say("features of real surfaces")
    skill, floors = judge.skill, {look: judge.floor(look) for look in LOOKS}
    added = {name: read_plan(folder / name) for name in (*PARTS, "wordless") if (folder / name / PLAN).is_file()}
    say("photos")
    tables = {"photos": rows_of(plan, out, judge)}
    looks: dict[str, tuple[Look, ...]] = {"textures": ("grey",), "named": ("grey",), "depth": ()}
    for name, wanted in looks.items():
        if name in added:
            say(name)
            tables[name] = rows_of(added[name], folder / name, judge if wanted else None, wanted, draws=True)
    named = []
    sheets: list[Path] = []
    for name in ("words", "wordless"):
        if name in added:
            say(name)
            named += recognise(judge, added[name], folder / name, name == "words")
    if "words" in added:
        sheets += write_word_sheets(judge, added["words"], folder / "words", folder)
    for name in looks:
        if name in added:
            write_sheets(added[name], folder / name, [])
            sheets.append(folder / name / "sheets")
    seeds = seed_rows(added["seeds"], folder / "seeds") if "seeds" in added else []
    found = Findings(
        choices.materials,
        choices.network,
        len(set(judge.real().groups)),
        skill,
        dict(floors),
        real_row(judge, plan.size),
        tables,
        named,
        seeds,
        _baseline(plan),
    )
    return [*write_findings(found, folder), *sheets]


def _baseline(plan: EvalPlan) -> str:
    """The first method that is Real-ESRGAN alone."""
    for one in plan.methods:
        preset = one.load()
        if preset.backbone == "realesrgan" and preset.check(**one.overrides()).mode not in INTERPOLATIONS:
            return one.name
    return ""
