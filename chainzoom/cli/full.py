"""``chainzoom full``: every pixel of a photo enlarged, streamed to one file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import click

from chainzoom.cli.models import weights_dir_option
from chainzoom.cli.progress import Progress
from chainzoom.cli.zoom import Scale
from chainzoom.errors import OptionError, OutputError
from chainzoom.full.estimate import Estimate, duration, size
from chainzoom.full.job import FullJob, FullRequest, Tick, record_path
from chainzoom.full.writers import TILE
from chainzoom.report.frames import scale_text

_EVERY = 15.0


class TileProgress(Progress):
    """A bar of tiles with the time left; without a terminal a line every 15 seconds."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._begun = self._said = monotonic()
        self._first: int | None = None

    def tick(self, tick: Tick) -> None:
        """Show how far the work is, and whatever went wrong and was mended."""
        for incident in tick.incidents:
            level, row, column = incident.index
            again = "made again" if incident.kind == "redone" else "going on"
            self.line(f"window {column},{row} of level {level}: {incident.text}; {again}")
        if self._first is None:
            self._first, self._begun = tick.done, monotonic()
            self.start("tiles", tick.total, tick.done)
            return
        if self._task is not None:
            self._bar.update(self._task, completed=tick.done)
        now = monotonic()
        if not sys.stderr.isatty() and now - self._said > _EVERY:
            left = (now - self._begun) / max(1, tick.done - self._first) * (tick.total - tick.done)
            self.line(f"{tick.done} of {tick.total} tiles, about {duration(left)} left")
            self._said = now


@click.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--to", type=Scale(), default=4.0, help="Output pixels per photo pixel, any number from 1.  [default: 4]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write: .tif (BigTIFF), .png, or .dzi.  [default: PHOTO-4x.tif beside you]"
)
@click.option("--preset", default="default", show_default=True, help="Name of a preset, or path of a .toml file.")
@click.option("--prompt", help="Words that steer the synthesis; they count before what is recognised.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed invents other detail where the backbone can.")
@click.option("--align", metavar="HOW", help="Colour alignment: none, adain or wavelet.")
@click.option("--consistency", type=float, help="0 (the backbone's own picture) to 1 (shrinks back to what it zoomed into).")
@click.option("--creativity", type=float, help="0 (only what the pixels make likely) to 1 (detail as the words have it).")
@click.option("--depth", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Bits per channel (.tif and .png).")
@click.option("--memory", type=click.Choice(["fast", "balanced", "low"]), help="GPU memory to take: all there is need of, less, least.")
@click.option("--dtype", metavar="TYPE", help="Precision of the backbone: auto, float32, float16 or bfloat16.")
@click.option("--device", metavar="NAME", help="Where the backbone runs: auto, cpu, cuda, cuda:1, ...")
@weights_dir_option
@click.option("--yes", is_flag=True, help="Do not ask, however long it takes and however large it gets.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and stop.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run for the same file stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the file and whatever an earlier run left.")
@click.option("--json", "as_json", is_flag=True, help="Print the record on standard output.")
def full(photo: Path, out: Path | None, depth: str, yes: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Enlarge the whole of PHOTO to 4x, 16x or any scale, and write it as one file.

    The picture is made of overlapping windows that are streamed to the file: memory does not grow with its size. BigTIFF and PNG are single
    files; .dzi is a Deep Zoom folder for map viewers. Above 10 minutes or 2 GiB you are asked first.
    """
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other")
    target = out or Path(f"{photo.stem}-{scale_text(options['to'])}.tif")
    job = FullJob(FullRequest(photo, target, depth=int(depth), **options))
    progress = TileProgress(quiet=as_json)
    with progress:
        progress.line(
            f"{photo.name}  {job.photo.width}x{job.photo.height}  to {scale_text(options['to'])}: "
            f"{job.target.width}x{job.target.height} pixels  preset {job.header['preset']}  "
            f"{job.target.grid[0] * job.target.grid[1]} tiles of {TILE} px"
        )
        known = job.estimate()
        progress.line(known.text())
    if dry_run:
        if as_json:
            click.echo(json.dumps(job.header | {"estimate": known.facts()}, ensure_ascii=False, indent=2))
        return
    if not yes:
        _agree(known, job.free_bytes())
    progress = TileProgress(quiet=as_json)
    with progress:
        for tick in job.run():
            progress.tick(tick)
    click.echo(record_path(target).read_text(encoding="utf-8").rstrip() if as_json else target)


def _agree(known: Estimate, free: int) -> None:
    """Ask whether to begin. Raises OutputError when the disk is too small, OptionError when it is much and nobody can be asked."""
    needed = known.file_bytes + known.work_bytes
    if needed > free:
        raise OutputError(
            f"this takes about {size(needed)} and the disk has {size(free)} free; free some space, or add --yes to try all the same"
        )
    if not known.ask:
        return
    if not sys.stdin.isatty():
        raise OptionError(f"this takes {known.text()}; add --yes to agree")
    if not click.confirm("Go on?", err=True):
        raise click.exceptions.Exit(1)
