"""``chainzoom train pocket-data``: bring and prepare the pictures that the pocket backbone learns from."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli.columns import aligned
from chainzoom.cli.progress import Progress
from chainzoom.training.pocket.data.prepare import MANIFEST, prepare, summary
from chainzoom.training.pocket.data.sources import Source, load_sources

_INTERRUPTED = 130
_MB = 1_000_000


@click.command("pocket-data")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--cache", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Folder for the packages.  [default: DIR/cache]"
)
@click.option("--only", metavar="NAME", multiple=True, help="Take this package alone; may be given more than once.")
@click.option(
    "--mirror", metavar="URL", default="", help="Debian archive to fetch from.  [default: $CHAINZOOM_DEBIAN, else the system's own]"
)
@click.pass_context
def pocket_data(ctx: click.Context, folder: Path, cache: Path | None, only: tuple[str, ...], mirror: str) -> None:
    """Prepare the pocket backbone's training pictures in DIR: pictures, captions, materials, the held-out split and the licences.

    The packages are checked against pinned SHA-256 and stay in the cache; an interrupted run goes on where it stopped. The manifest is
    written last, so a folder that has one is complete.
    """
    sources = load_sources(only)
    total = sum(source.size for source in sources)
    click.echo(f"{len(sources)} packages, {total / 1e9:.1f} GB", err=True)
    with Progress(quiet=False) as progress:
        shown: dict[str, int] = {}

        def tell(name: str, done: int, size: int) -> None:
            if name not in shown:
                progress.start(f"{name} (MB)", size // _MB)
            progress.film(done // _MB, size // _MB)
            shown[name] = done

        def drawn(source: Source, count: int) -> None:
            if count == 1:
                progress.start(f"pictures of {source.name}", len(source.pictures))
            progress.film(count, len(source.pictures))
            if count == len(source.pictures):
                progress.line(f"{source.label}: {count} pictures")

        try:
            rows = prepare(sources, folder, cache or folder / "cache", mirror=mirror, tell=tell, drawn=drawn)
        except KeyboardInterrupt:
            click.echo("chainzoom: interrupted; the same command goes on from here", err=True)
            ctx.exit(_INTERRUPTED)
    table = [("material", "train", "test"), *((name, str(n["train"]), str(n["test"])) for name, n in summary(rows).items())]
    for line in aligned(table):
        click.echo(line)
    click.echo(f"{len(rows)} pictures: {folder / MANIFEST}")
