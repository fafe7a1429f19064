"""``chainzoom report``: draw a run's strip, film and page again."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli.progress import Progress
from chainzoom.report.build import build_report


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Draw strip.png, zoom.mp4 and index.html of the run in FOLDER again."""
    with Progress(quiet=False) as progress:
        paths = build_report(folder, progress.film)
    for path in paths:
        click.echo(path)
