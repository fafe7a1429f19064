"""``chainzoom train sr``: teach the super-resolution backbone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chainzoom.extras import need
from chainzoom.training.sr.config import load_config


@click.command("sr")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the run in the configuration's folder.")
def sr(config: Path, resume: bool) -> None:
    """Train a super-resolution backbone as CONFIG (a TOML file) says: OSEDiff on SD3 or SD2.1, or OracleZoom's adapter.

    Many GPUs: `accelerate launch -m chainzoom train sr CONFIG`, with accelerate's own configuration for DDP, FSDP or DeepSpeed.
    """
    checked, text = load_config(config)
    for module in ("torch", "accelerate", "peft", "diffusers", "transformers", "tensorboard"):
        need(module, "chainzoom train sr", extra="train")
    from chainzoom.training.sr.trainer import train

    export = train(checked, text, resume=resume, say=lambda line: click.echo(line, err=True))
    if os.environ.get("RANK", "0") == "0":
        click.echo(export)
