"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

from pathlib import Path

from chainzoom.cli import cli


def document() -> str:
    """The text of docs/cli.md."""
    parts = ["# The command line\n\nMade from the commands by `python docs/make_cli.py`; a test keeps it current.\n"]
    top = cli.make_context("chainzoom", [], resilient_parsing=True, terminal_width=110)
    contexts = [command.make_context(name, [], parent=top, resilient_parsing=True) for name, command in sorted(cli.commands.items())]
    for context in (top, *contexts):
        parts.append(f"## `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(document(), encoding="utf-8")
