"""``chainzoom zoom``: one photo, one point, one scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chainzoom.cli.models import weights_dir_option
from chainzoom.cli.progress import Progress
from chainzoom.cli.samples import zoom_samples
from chainzoom.jobs import ZoomJob, ZoomRequest
from chainzoom.records import read_record
from chainzoom.report.frames import scale_text


class Point(click.ParamType[tuple[float, float]]):
    """X,Y as two numbers."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Two floats from text."""
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected two fractions of the photo joined by a comma, e.g. 0.62,0.41; got {value!r}", param, ctx)
        return x, y


class Scale(click.ParamType[float]):
    """A number, with or without a closing x."""

    name = "SCALE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A float from text."""
        try:
            return float(str(value).lower().removesuffix("x"))
        except ValueError:
            self.fail(f"expected a number above 1, e.g. 256; got {value!r}", param, ctx)


@click.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--at", type=Point(), default=(0.5, 0.5), help="The point to zoom into, as fractions of the photo.  [default: 0.5,0.5]")
@click.option("--to", type=Scale(), default=256.0, help="Output pixels per photo pixel to end at, any number above 1.  [default: 256]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: PHOTO-256x beside you]")
@click.option("--preset", default="default", show_default=True, help="Name of a preset, or path of a .toml file.")
@click.option("--prompt", help="Words that steer the synthesis; they count before what is recognised.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed invents other detail where the backbone can.")
@click.option("--mode", metavar="MODE", help="multiscale, recursive, onestep, bicubic or nearest.")
@click.option("--align", metavar="HOW", help="Colour alignment: none, adain or wavelet.")
@click.option("--consistency", type=float, help="0 (the backbone's own picture) to 1 (shrinks back to what it zoomed into).")
@click.option("--creativity", type=float, help="0 (only what the pixels make likely) to 1 (detail as the words have it).")
@click.option("--size", type=int, help="Largest side of a state in pixels.")
@click.option("--protocol", metavar="NAME", help="native (real pixels first) or paper (the official 512 px square).")
@click.option("--depth", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Bits per channel of the states.")
@click.option("--samples", type=int, metavar="N", help="Zoom from N seeds and map where they agree (evidence) and differ (invention).")
@click.option("--memory", type=click.Choice(["fast", "balanced", "low"]), help="GPU memory to take: all there is need of, less, least.")
@click.option("--dtype", metavar="TYPE", help="Precision of the networks: float32, bfloat16, float16 or auto.")
@click.option("--device", metavar="NAME", help="Where the networks run, as torch calls it: cpu, cuda, cuda:1; or auto.")
@weights_dir_option
@click.option("--resume", is_flag=True, help="Go on where an earlier run into the same folder stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in the same folder.")
@click.option("--no-report", is_flag=True, help="States and record only: no strip, film or page.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished record on standard output.")
def zoom(photo: Path, out: Path | None, depth: str, no_report: bool, as_json: bool, samples: int | None, **options: Any) -> None:
    """Zoom into PHOTO at a point, through 4x, 16x, 64x, 256x and past it.

    As long as the photo has pixels, they are shown; from 1x on the picture is synthesised, and the record says so.
    """
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other")
    folder = out or _free_folder(Path(f"{photo.stem}-{scale_text(options['to'])}"), options["resume"] or options["overwrite"])
    job = ZoomJob(ZoomRequest(photo, folder, depth=16 if depth == "16" else 8, **options))
    if samples is not None:
        zoom_samples(job, samples, no_report=no_report, as_json=as_json)
        return
    with Progress(quiet=as_json) as progress:
        progress.line(
            f"{photo.name}  {job.photo.width}x{job.photo.height}  to {scale_text(options['to'])} "
            f"at {options['at'][0]:g},{options['at'][1]:g}  preset {job.preset.name}  {len(job.plan)} states"
        )
        progress.start("zooming", len(job.plan))
        for step, fresh in job.steps():
            progress.state(step, fresh)
        paths = [] if no_report else job.report(progress.film)
    if as_json:
        click.echo(json.dumps(read_record(folder), ensure_ascii=False, indent=2))
        return
    for path in [folder / "states", *paths]:
        click.echo(path)


def _free_folder(wanted: Path, again: bool) -> Path:
    """``wanted``, or ``wanted-2``, ``-3`` ... when it is taken and the run is a new one."""
    number, folder = 2, wanted
    while not again and folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
