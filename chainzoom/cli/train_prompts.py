"""``chainzoom train prompts``: teach the prompt extractor with rewards."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.training.grpo.config import load_config


@click.command("prompts")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the run in the configuration's folder.")
def prompts(config: Path, resume: bool) -> None:
    """Train the vision-language model that writes the prompts, by GRPO, as CONFIG (a TOML file) says."""
    checked, text = load_config(config)
    from chainzoom.training.grpo.run import train_prompts

    adapter = train_prompts(checked, text, resume=resume, say=lambda line: click.echo(line, err=True))
    click.echo(adapter)
