"""``chainzoom eval``: measure presets on a folder of pictures as the paper did, and see where they stand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.ablations import ABLATIONS, find_ablation
from chainzoom.evaluation.build import build, check_extra
from chainzoom.evaluation.datasets import read_dataset
from chainzoom.evaluation.metrics import expand_names, load_metrics
from chainzoom.evaluation.plan import PLAN, EvalPlan, read_plan
from chainzoom.evaluation.protocol import PAPER_SCALES, Method, paper_rows, parse_method
from chainzoom.evaluation.runner import run_missing
from chainzoom.evaluation.surfaces.plans import PARTS, Choices, read_choices
from chainzoom.evaluation.surfaces.run import choose, measure_added, run_added, with_materials


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers joined by commas, each with or without a closing x."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Floats from text, rising."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(sorted({float(part.strip().lower().removesuffix("x")) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"expected numbers joined by commas, e.g. 4,16,64,256; got {value!r}", param, ctx)


@click.command("eval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--preset",
    "presets",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="A method to measure; give it again for more. Keys: mode, prompter, align, consistency, step, seed, prompt.",
)
@click.option(
    "--paper-rows",
    metavar="PRESET",
    help="The rows of the paper's table with this preset's backbone: nearest, onestep, no words, tags, DAPE, VLM.",
)
@click.option(
    "--ablation", type=click.Choice(list(ABLATIONS)), help="Methods that answer one question about the preset (the first --preset)."
)
@click.option("--scales", type=Numbers(), help="Where to measure.  [default: 4,16,64,256]")
@click.option(
    "--metrics",
    default="default",
    show_default=True,
    help="default (licence-clean), paper (pyiqa, non-commercial), or names, joined by commas.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "native"]),
    default="paper",
    show_default=True,
    help="paper: 512 px centre square of the shrunk photo; native: the photo's own pixels first.",
)
@click.option("--size", type=int, default=512, show_default=True, help="Side of the states in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Run seed of every method that names none.")
@click.option(
    "--split",
    type=click.Choice(["auto", "train", "valid", "test"]),
    default="auto",
    show_default=True,
    help="Part of a dataset that has parts.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first pictures.")
@click.option(
    "--perceptual-weights", type=click.Path(path_type=Path), help="Folder of the archives that LPIPS and DISTS read their weights from."
)
@click.option(
    "--textures",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Prepared folder of real surfaces (manifest.jsonl), more than once for more: compares with its held-out part. "
    "Needs --perceptual-weights.",
)
@click.option(
    "--materials", metavar="NAMES", help="Materials to prompt and to name, joined by commas.  [default: the ten with most groups]"
)
@click.option("--parts", default=",".join(PARTS), show_default=True, help="What --textures adds, joined by commas; none: distances alone.")
@click.option("--inputs", type=click.IntRange(min=2), default=20, show_default=True, help="Blurred inputs that words are tried on.")
@click.option("--network", type=click.Choice(["vgg16", "alexnet"]), default="vgg16", show_default=True, help="Whose features are compared.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder to write; runs that are there are kept.",
)
@click.option(
    "--report", is_flag=True, help="FOLDER is an earlier --out: measure what is stored and draw everything again; nothing is run."
)
def evaluate(
    folder: Path,
    report: bool,
    out: Path,
    metrics: str,
    perceptual_weights: Path | None,
    textures: tuple[Path, ...],
    materials: str | None,
    parts: str,
    inputs: int,
    network: str,
    **options: Any,
) -> None:
    """Run presets on the pictures of FOLDER, score them, and write tables, plots, contact sheets and a page.

    Runs what is missing: an interrupted evaluation goes on with the same command. A picture that fails is written down and never stops
    the others. With --textures DIR it is also measured how near the pictures come to real surfaces, whether words matter, what two seeds
    share, and what becomes of eight steps; see docs/evaluation.md.
    """
    check_extra()
    choices: Choices | None = None
    if textures and not report:
        if perceptual_weights is None:
            raise OptionError(
                "--textures needs --perceptual-weights FOLDER with the archive of the network's weights; docs/evaluation.md says which"
            )
        choices = choose(textures, _names(materials), _parts(parts), inputs=inputs, network=network)
    if report:
        out, plan = folder, read_plan(folder)
        names = plan.metrics if _by_default("metrics") else expand_names(metrics.split(","))
    else:
        names = expand_names(metrics.split(","))
        plan = _plan(folder, names, **options)
        plan = with_materials(plan, folder, choices) if choices else plan
        _check_out(out)
    chosen = load_metrics(names, perceptual_weights)
    for metric in chosen:
        if "no commercial use" in metric.licence:
            _say(f"note: {metric.label} comes from {metric.licence}")
    for name, reason in plan.absent.items():
        _say(f"not run: {name}: {reason}")
    try:
        if not report:
            _run(plan, out)
            if choices:
                run_added(plan, out, choices, _say)
        _say("measuring")
        summary, paths = build(plan, out, chosen)
        if perceptual_weights and (choices or (report and read_choices(out))):
            paths += measure_added(plan, out, perceptual_weights, _say)
    except KeyboardInterrupt:
        _say("stopped: the same command goes on from here")
        sys.exit(130)
    failed = summary.failures()
    if failed:
        _say(f"{len(failed)} failures; index.html lists them")
    for path in paths:
        click.echo(path)


def _plan(folder: Path, names: tuple[str, ...], **options: Any) -> EvalPlan:
    """The plan that the options ask for, without the methods that cannot run here."""
    presets, ablation = options["presets"], options["ablation"]
    asked: list[Method] = paper_rows(options["paper_rows"]) if options["paper_rows"] else []
    scales, note = options["scales"], ""
    if ablation:
        if len(presets) > 1 or asked:
            raise OptionError("--ablation is asked of one preset; give a single --preset and no --paper-rows")
        question = find_ablation(ablation)
        asked, note = question.methods(presets[0] if presets else "default"), question.question
        scales = scales or question.scales
    elif presets or not asked:
        asked += [parse_method(text) for text in presets or ("default",)]
    dataset = read_dataset(folder, options["split"], options["limit"])
    methods, absent = [], {}
    for method in {method.name: method for method in asked}.values():
        reason = _unable(method)
        if reason:
            absent[method.name] = reason
        else:
            methods.append(method)
    return EvalPlan(
        {"name": folder.resolve().name, "layout": dataset.layout, "split": dataset.split},
        dataset.items,
        tuple(methods),
        scales or PAPER_SCALES,
        names,
        options["protocol"],
        options["size"],
        options["seed"],
        absent,
        _command(),
        note,
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(name for name in _names(text) if name != "none")
    for name in names:
        if name not in PARTS:
            raise OptionError(f"--parts takes names out of {', '.join(PARTS)}, or none; got '{name}'")
    return names


def _unable(method: Method) -> str:
    """Why a method cannot run here, or an empty string; unknown names and settings without sense are the user's to mend."""
    preset = method.load()
    if method.changes.get("prompter") == "vlm" and not preset.prompter_options:
        return "a VLM needs its weights named in a preset of its own; give it with --preset"
    return preset.missing()


def _run(plan: EvalPlan, out: Path) -> None:
    total = len(plan.methods) * len(plan.items)
    for count, done in enumerate(run_missing(plan, out), 1):
        took = f" {done.seconds:.1f} s" if done.outcome == "made" else ""
        _say(f"{count}/{total}  {done.method.name}  {done.item.name}  {done.outcome}{took}{'  ' + done.reason if done.reason else ''}")


def _check_out(out: Path) -> None:
    try:
        inside = any(out.iterdir()) if out.exists() else False
    except OSError as error:
        raise OutputError(f"--out {out}: {error.strerror}; give a folder") from None
    if inside and not (out / PLAN).is_file():
        raise OutputError(f"--out {out} is not empty and holds no evaluation; give an empty folder or an earlier --out")


def _by_default(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.DEFAULT


def _command() -> str:
    """The command line, for the record; paths by their last part only."""
    words = [Path(word).name if "/" in word and not word.startswith("-") else word for word in sys.argv[1:]]
    return shlex.join(["chainzoom", *words])


def _say(text: str) -> None:
    click.echo(text, err=True)
