"""``chainzoom train surfaces``: teach the surface tagger."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from chainzoom.cli.columns import aligned
from chainzoom.cli.progress import Progress


@click.command("surfaces")
@click.argument("data", type=click.Path(path_type=Path, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--patches", type=click.IntRange(1), default=4, show_default=True, help="Patches of each picture.")
@click.option("--most", type=click.IntRange(1), default=40, show_default=True, help="Most pictures of one material.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which patches are cut.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="CPU threads.")
def surfaces(data: Path, out: Path, patches: int, most: int, seed: int, threads: int) -> None:
    """Train the surface tagger of the `tags` prompter on DATA, which `chainzoom train pocket-data` prepares.

    OUT/surfaces.safetensors is the file, OUT/report.json what it knows of pictures that were held out. Features stay in OUT/features: an
    interrupted run goes on where it stopped.
    """
    from chainzoom.training.surfaces.run import WEIGHTS, Options, train_surfaces

    with Progress(quiet=False) as progress:

        def tell(done: int, total: int) -> None:
            if done == 1:
                progress.start("pictures", total)
            progress.film(done, total)

        report: dict[str, Any] = train_surfaces(data, out, Options(patches, most, seed=seed), tell, threads)
    lines: list[tuple[str, ...]] = [("material", "held-out patches", "first", "named", "right when named")]
    for name, row in cast(dict[str, dict[str, Any]], report["each"]).items():
        lines.append((name, *(str(row[key]) if isinstance(row[key], int) else _percent(row[key]) for key in list(row)[1:])))
    for line in aligned(lines):
        click.echo(line)
    click.echo(f"held-out pictures with the right material first: {_percent(report['pictures']['first right'])}")
    click.echo(f"{out / WEIGHTS}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
