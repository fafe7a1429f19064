"""``chainzoom presets``: what can be chosen with --preset, under which licences, and whether it runs here."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli.columns import aligned
from chainzoom.cli.models import weights_dir_option
from chainzoom.models import Store
from chainzoom.presets import builtin_names, load_preset


@click.command()
@weights_dir_option
def presets(weights_dir: Path | None) -> None:
    """List the presets, what the licences of their weights allow, and whether they can run here."""
    store = Store.at(weights_dir)
    known = [load_preset(name) for name in builtin_names()]
    lacking = {preset.name: preset.missing(store) for preset in known}
    head = ("preset", "backbone", "prompter", "licences", "runs here")
    for line in aligned([head, *((p.name, p.backbone, p.prompter, p.terms(), lacking[p.name] or "yes") for p in known)]):
        click.echo(line)
    click.echo()
    for preset in known:
        click.echo(f"{preset.name}: {preset.description}")
