"""Reading single files out of ``.deb`` and ``.whl`` packages, without root and without unpacking the rest."""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from chainzoom.atomic import atomic_path, output_error
from chainzoom.training.pocket.data.sources import DataError, Source

Read = Callable[[str], bytes]
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, ValueError)


@contextmanager
def opened(source: Source, archive: Path, cache: Path) -> Iterator[Read]:
    """Yield a function that gives the bytes of an origin. Raises DataError when the archive is damaged or lacks it.

    What stands in a tar is first copied to ``cache/unpacked``, each file whole or not at all; so a second run does not decompress again.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as outer:
                yield _zip_reader(outer, source)
            return
        wanted = {source.container} if source.container else {picture.origin for picture in source.pictures}
        folder = cache / "unpacked" / source.label.replace("/", "-")
        _unpack(source, archive, wanted, folder)
        if source.container:
            with zipfile.ZipFile(folder / source.container) as inner:
                yield _zip_reader(inner, source)
        else:
            yield lambda origin: (folder / origin).read_bytes()
    except _BROKEN as error:
        raise DataError(f"{archive.name} is damaged ({error}); delete it and run the same command again") from error


def _zip_reader(archive: zipfile.ZipFile, source: Source) -> Read:
    def read(origin: str) -> bytes:
        try:
            return archive.read(origin)
        except KeyError:
            raise DataError(f"{source.label} has no {origin}") from None

    return read


def _unpack(source: Source, archive: Path, wanted: set[str], folder: Path) -> None:
    missing = {name for name in wanted if not (folder / name).is_file()}
    if not missing:
        return
    with _tar_of(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if name in missing and member.isfile() else None
            if content is None:
                continue
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise output_error(target, error) from error
            with atomic_path(target) as part, part.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            missing.discard(name)
            if not missing:
                return
    raise DataError(f"{source.label} has no {sorted(missing)[0]}")


@contextmanager
def _tar_of(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        name, size = _data_member(file, archive)
        if name.endswith(".zst"):
            with _by_dpkg(archive) as tar:
                yield tar
            return
        with tarfile.open(fileobj=io.BufferedReader(_Slice(file, size), 1 << 20), mode="r|*") as tar:
            yield tar


def _data_member(file: IO[bytes], archive: Path) -> tuple[str, int]:
    """Stand at the start of ``data.tar.*`` in the ar archive (deb(5)); its name and size in bytes."""
    if file.read(8) != b"!<arch>\n":
        raise DataError(f"{archive.name} is no Debian package; delete it and run the same command again")
    while len(header := file.read(60)) == 60 and header[58:] == b"`\n":
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name, size
        file.seek(size + size % 2, io.SEEK_CUR)
    raise DataError(f"{archive.name} holds no data.tar; delete it and run the same command again")


@contextmanager
def _by_dpkg(archive: Path) -> Iterator[tarfile.TarFile]:
    """Zstandard is not in this Python's library: ``dpkg-deb`` reads it."""
    if not shutil.which("dpkg-deb"):
        raise DataError(f"{archive.name} is compressed with Zstandard; install dpkg-deb to read it")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                yield tar
        finally:
            process.kill()


class _Slice(io.RawIOBase):
    """The next ``size`` bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._file.read(min(len(buffer), self._left))
        self._left -= len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)
