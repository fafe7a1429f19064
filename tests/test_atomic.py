from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chainzoom.atomic import atomic_path, remove_leftovers, write_bytes
from chainzoom.errors import OutputError


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    write_bytes(target, b"one")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_mode_follows_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")
    with pytest.raises(failure), atomic_path(target) as part:  # noqa: PT012
        assert part.suffix == ".mp4"
        assert part.parent == tmp_path
        part.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_full_disk_in_the_body(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4: the disk is full"), atomic_path(tmp_path / "a.mp4"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_os_errors_of_the_body_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        raise FileNotFoundError(errno.ENOENT, "elsewhere")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_really_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to_full(self: Path, data: bytes) -> int:
        with open("/dev/full", "wb", buffering=0) as file:  # noqa: PTH123
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", to_full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_shown_by_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_bad_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder does not exist"):
        write_bytes(tmp_path / "none" / "a", b"")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(OutputError, match="folder of that name"):
        write_bytes(tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission denied"):
        write_bytes(tmp_path / "locked" / "a", b"")


def test_leftovers_of_a_killed_run_are_found(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_bytes(b"user's own")
    context = atomic_path(tmp_path / "0.png")
    part = context.__enter__()
    part.write_bytes(b"half")
    assert remove_leftovers(tmp_path) == [part]
    assert [p.name for p in tmp_path.iterdir()] == [".hidden"]
    with pytest.raises(OutputError):
        context.__exit__(None, None, None)
