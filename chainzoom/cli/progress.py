"""Progress on a terminal is a bar; elsewhere it is plain lines. Both go to standard error."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from chainzoom.report.frames import db_text, scale_text, shares_text
from chainzoom.step import Step


class Progress:
    """Shows states as they are finished and the film as it is drawn; use as a context manager."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin a piece of work of ``total`` parts."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total, completed=done)

    def line(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(escape(text))

    def state(self, step: Step, fresh: bool) -> None:
        """A finished state."""
        self.line(describe(step) + ("" if fresh else "  (from the earlier run)"))
        if self._task is not None:
            self._bar.advance(self._task)

    def film(self, done: int, total: int) -> None:
        """``done`` of the film's ``total`` frames are drawn."""
        if self._task is None or self._bar.tasks[-1].total != total:
            self.start("drawing zoom.mp4", total)
        if self._task is not None:
            self._bar.update(self._task, completed=done)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()


def describe(step: Step) -> str:
    """A state in one line."""
    parts = [f"state {step.index}", f"{scale_text(step.scale):>7}"]
    made = f"{step.backbone} ({shares_text(step.choice.shares)})" if step.choice else step.backbone
    parts.append("real pixels" if step.kind == "photo" else f"synthesised by {made}")
    if step.consistency:
        parts.append(f"consistency {db_text(step.consistency.raw)} -> {db_text(step.consistency.corrected)}")
    parts.append(f"{step.seconds.total:.1f} s")
    if step.prompt.text:
        parts.append(f'"{step.prompt.text}" ({step.prompt.source})')
    return "  ".join(parts)
