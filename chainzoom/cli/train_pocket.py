"""``chainzoom train pocket``: teach the pocket backbone."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.extras import need


@click.command("pocket")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the run in the configuration's folder.")
def pocket(config: Path, resume: bool) -> None:
    """Train the pocket backbone as CONFIG (a TOML file) says; `chainzoom train pocket-data` prepares the pictures.

    The last line printed is the file to use: `[backbone] name = "pocket"`, `weights = "FILE"`.
    """
    from chainzoom.training.pocket.config import load_config

    checked, text = load_config(config)
    for module in ("torch", "safetensors", "tensorboard"):
        need(module, "chainzoom train pocket", extra="train")
    from chainzoom.training.pocket.trainer import train

    click.echo(train(checked, text, resume=resume, say=lambda line: click.echo(line, err=True)))
