from __future__ import annotations

from pathlib import Path

import numpy as np

from chainzoom.windows import Index, WindowCache


def pixels(value: int) -> np.ndarray:
    return np.full((10, 10, 3), value, np.uint16)


def name(row: int, column: int = 0) -> Index:
    return Index(1, row, column)


def test_memory_is_bounded_and_the_oldest_leave() -> None:
    cache = WindowCache(memory=3 * 600)
    for row in range(3):
        cache.put(name(row), pixels(row))
    assert cache.get(name(0)) is not None
    cache.put(name(3), pixels(3))
    assert name(1) not in cache
    assert [row for row in range(4) if name(row) in cache] == [0, 2, 3]


def test_what_memory_has_no_room_for_lies_on_disk_and_survives(tmp_path: Path) -> None:
    cache = WindowCache(600, tmp_path)
    for row in range(4):
        cache.put(name(row), pixels(row))
    for row in range(4):
        np.testing.assert_array_equal(cache.get(name(row)), pixels(row))
    other = WindowCache(600, tmp_path)
    np.testing.assert_array_equal(other.get(name(0)), pixels(0))


def test_the_disk_is_bounded_too(tmp_path: Path) -> None:
    cache = WindowCache(600, tmp_path, disk=2 * 600)
    for row in range(6):
        cache.put(name(row), pixels(row))
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_sweep_forgets_what_it_has_passed(tmp_path: Path) -> None:
    cache = WindowCache(600, tmp_path)
    for row in range(4):
        cache.put(name(row), pixels(row))
    cache.put(Index(2, 0, 0), pixels(9))
    cache.forget_above(1, 3)
    assert [row for row in range(4) if name(row) in cache] == [3]
    assert Index(2, 0, 0) in cache
    assert len(list(tmp_path.glob("1_*.npy"))) == 1


def test_a_spoiled_file_is_made_again(tmp_path: Path) -> None:
    cache = WindowCache(600, tmp_path)
    cache.put(name(0), pixels(0))
    cache.put(name(1), pixels(1))
    (tmp_path / "1_0_0.npy").write_bytes(b"nonsense")
    (tmp_path / "notes.npy").write_bytes(b"not ours")
    other = WindowCache(600, tmp_path)
    assert other.get(name(0)) is None
    assert name(0) not in other


def test_a_file_of_another_size_is_made_again(tmp_path: Path) -> None:
    cache = WindowCache(600, tmp_path)
    cache.put(name(0), pixels(0))
    cache.put(name(1), pixels(1))
    np.save(tmp_path / "1_0_0.npy", np.zeros((9, 10, 3), np.uint16))
    other = WindowCache(600, tmp_path)
    assert other.get(name(0), (10, 10)) is None
    assert not (tmp_path / "1_0_0.npy").exists()
    other.put(name(0), pixels(0))
    assert other.get(name(0), (10, 10)) is not None
