"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli import cli


def document() -> str:
    """The text of docs/cli.md."""
    parts = ["# The command line\n\nMade from the commands by `python docs/make_cli.py`; a test keeps it current.\n"]
    top = cli.make_context("chainzoom", [], resilient_parsing=True, terminal_width=110)
    for context in _contexts(top):
        parts.append(f"## `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def _contexts(context: click.Context) -> list[click.Context]:
    """A command and all commands below it, in the order of their names."""
    found = [context]
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            found += _contexts(command.make_context(name, [], parent=context, resilient_parsing=True))
    return found


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(document(), encoding="utf-8")
