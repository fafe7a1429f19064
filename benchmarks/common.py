"""What every benchmark prints above its table, and where the tables go."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def header(command: str, *notes: str) -> str:
    """Machine, versions and command, as Markdown."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("chainzoom", "openvino", "ncnn", "numpy", "pillow"))
    return "\n".join([f"`{command}`", "", f"{cpu_name()}, {cores()} cores; {versions}. {'; '.join(notes)}", "", ""])


def save(name: str, text: str) -> None:
    """Print a table and keep it in benchmarks/results/."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
