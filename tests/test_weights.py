"""Hashes of weight files are made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom import weights


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINZOOM_CACHE", str(tmp_path / "cache"))
    reads: list[Path] = []
    real = weights.sha256_of
    monkeypatch.setattr(weights, "sha256_of", lambda path: (reads.append(path), real(path))[1])
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert weights.cached_sha256(path) == weights.cached_sha256(path) == real(path)
    assert len(reads) == 1
    path.write_bytes(b"three")
    assert weights.cached_sha256(path) == real(path)
    assert len(reads) == 2
    (tmp_path / "cache" / "sha256.json").write_text("rubbish")
    assert weights.cached_sha256(path) == real(path)
