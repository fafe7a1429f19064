"""OpenSeadragon, the map viewer in the page: a file of its npm package, fetched when the wheel is built and not kept in the repository.

``python -m chainzoom.viewer.vendor`` fetches it into a checkout with ``npm``.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "openseadragon", "6.1.1"
INTEGRITY = "sha512-g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
"""As npm writes it in lock files: of the whole package."""
FILES = {"package/build/openseadragon/openseadragon.min.js": "openseadragon.min.js", "package/LICENSE.txt": "LICENSE.txt"}
FOLDER = Path(__file__).parent / "static" / "vendor"
HOW = "run `python -m chainzoom.viewer.vendor` (needs npm), or install a wheel of chainzoom"


class VendorError(Exception):
    """The file cannot be fetched or is not the right one."""


def missing(folder: Path = FOLDER) -> bool:
    """Whether the page cannot work."""
    return not all((folder / name).is_file() for name in FILES.values())


def fetch(folder: Path = FOLDER, npm: str = "npm") -> None:
    """Fetch the pinned package, check it, and copy out what the page needs. Raises VendorError."""
    found = shutil.which(npm)
    if found is None:
        raise VendorError(f"npm is needed once to fetch {PACKAGE} {VERSION} (BSD-3-Clause); install Node.js, then try again")
    with tempfile.TemporaryDirectory() as scratch:
        command = [found, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts", "--pack-destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        packed = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not packed:
            raise VendorError(f"npm pack {PACKAGE}@{VERSION} failed: {' '.join(done.stderr.split())[:300] or 'no file came'}")
        unpack(packed[0], folder)


def unpack(package: Path, folder: Path = FOLDER) -> None:
    """Check a package file against INTEGRITY and copy out FILES. Raises VendorError."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise VendorError(f"{PACKAGE} {VERSION} should have the hash {INTEGRITY}; what came has {digest}")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for inside, name in FILES.items():
            member = archive.extractfile(inside)
            if member is None:
                raise VendorError(f"{PACKAGE} {VERSION} holds no {inside}")
            (folder / name).write_bytes(member.read())


def check_assets() -> None:
    """Raise InputError with the line that fetches what is missing."""
    from chainzoom.errors import InputError

    if missing():
        raise InputError(f"the page needs {PACKAGE} {VERSION}, which is not in this checkout: {HOW}")


if __name__ == "__main__":
    try:
        fetch()
    except VendorError as error:
        sys.exit(f"chainzoom: {error}")
    print(f"{PACKAGE} {VERSION} is in place")
