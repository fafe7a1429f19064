"""``chainzoom train pocket-shelf``: choose the surfaces that the pocket backbone borrows detail from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pocket-shelf")
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--each", type=click.IntRange(1), default=10, show_default=True, help="Exemplars of each material, where there are so many.")
@click.option(
    "--features",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the archive of AlexNet (docs/pocket.md): choose what together looks like real surfaces (a quarter of an hour).",
)
def pocket_shelf(data: Path, out: Path, each: int, features: Path | None) -> None:
    """Write OUT, a shelf of exemplars, from the training pictures in DATA (see `chainzoom train pocket-data`).

    A preset uses it by `[backbone] name = "pocket"`, `exemplars = "OUT"`; the generator need not be trained again.
    """
    from chainzoom.sentences import SentenceEncoder
    from chainzoom.training.pocket.shelf import build

    click.echo(f"{out}: {build(data, out, SentenceEncoder().encode_many, each, eyes=features)} exemplars")
