"""``chainzoom view``: the deep-zoom viewer in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli.models import weights_dir_option


@click.command()
@click.argument("photo", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--preset", default="default", show_default=True, help="Name of a preset, or path of a .toml file.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but a loopback one needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--no-browser", is_flag=True, help="Only say where the viewer is.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder of tiles.  [default: in the user's cache]")
@click.option(
    "--cache-size", type=click.FloatRange(0.05), default=4.0, show_default=True, metavar="GIB", help="Most that the cache may take."
)
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Processes that make tiles.")
@weights_dir_option
def view(
    photo: Path | None,
    preset: str,
    host: str,
    port: int,
    no_browser: bool,
    cache: Path | None,
    cache_size: float,
    workers: int,
    weights_dir: Path | None,
) -> None:
    """Explore PHOTO, or the photos of a folder, to 256x in the browser; tiles are made where you look.

    Without PHOTO the page waits for photos that you drop on it. The server answers to this machine alone unless --host says otherwise.
    """
    from chainzoom.viewer.serve import serve
    from chainzoom.viewer.service import ViewerOptions, default_cache

    options = ViewerOptions(
        photo, cache or default_cache(), round(cache_size * 2**30), preset=preset, weights_dir=weights_dir, workers=workers
    )
    serve(options, host, port, browser=not no_browser, say=lambda line: click.echo(line, err=True))
