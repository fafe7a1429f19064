"""Files that are either whole or not there: written beside their place under another name, synced, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chainzoom.errors import OutputError

_MARK = ".chainzoom-part"
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file is larger than the file system or a limit allows; choose another folder",
    errno.EIO: "the disk reports an input/output error; choose another disk",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a folder that you may write to",
    errno.ENOENT: "its folder does not exist; create it first",
    errno.ENOTDIR: "a part of its path is a file, not a folder; choose another folder",
    errno.EISDIR: "a folder of that name is in the way; remove it or choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


def output_error(path: Path, error: OSError) -> OutputError:
    """The one-line OutputError for a failed write to ``path``."""
    return OutputError(f"cannot write {path}: {_REASONS.get(error.errno or 0, error.strerror or str(error))}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a fresh, empty file in ``path``'s folder and with its suffix; on leaving it is synced and renamed to ``path``.

    When the body raises, also KeyboardInterrupt, the file is removed and what was at ``path`` before stays as it was. Raises OutputError
    when the folder cannot be written to or the disk is full, in the body too.
    """
    part = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(6)}{_MARK}{path.suffix}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise output_error(path, error) from error
    try:
        try:
            yield part
        except OSError as error:
            if error.errno in _DISK:
                raise output_error(path, error) from error
            raise
        try:
            _sync(part)
            part.replace(path)
        except OSError as error:
            raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems cannot sync a folder; the file itself is safe
        _sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one indivisible move. Raises OutputError."""
    with atomic_path(path) as part:
        try:
            part.write_bytes(data)
        except OSError as error:
            raise output_error(path, error) from error


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove unfinished files that a killed run left in ``folder`` (not below it) and return them; hold the folder's lock meanwhile."""
    found = sorted(path for path in folder.glob(f".*{_MARK}*") if path.is_file())
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
