"""``chainzoom presets``: what can be chosen with --preset, and whether it runs here."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from chainzoom.presets import builtin_names, load_preset


@click.command()
def presets() -> None:
    """List the presets and whether they can run here."""
    table = Table(box=None, pad_edge=False)
    for column in ("preset", "backbone", "prompter", "runs here", "what it is"):
        table.add_column(column, no_wrap=column == "preset")
    for name in builtin_names():
        preset = load_preset(name)
        missing = preset.missing()
        table.add_row(name, preset.backbone, preset.prompter, missing or "yes", preset.description, style="dim" if missing else None)
    Console().print(table)
