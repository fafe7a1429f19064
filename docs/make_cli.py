"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

from pathlib import Path

import click

from chainzoom.cli import cli


def document() -> str:
    """The text of docs/cli.md."""
    parts = ["# The command line\n\nMade from the commands by `python docs/make_cli.py`; a test keeps it current.\n"]
    for path, command in [("chainzoom", cli), *((f"chainzoom {name}", item) for name, item in sorted(cli.commands.items()))]:
        context = click.Context(command, info_name=path, terminal_width=110, max_content_width=110)
        parts.append(f"## `{path}`\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(document(), encoding="utf-8")
