"""Every layout as it is when unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.datasets import read_dataset


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_div2k_takes_the_train_pictures_and_no_low_resolution(tmp_path: Path) -> None:
    root = touch(
        tmp_path, "DIV2K_train_HR/0001.png", "DIV2K_train_HR/0002.png", "DIV2K_train_LR_bicubic/X4/0001x4.png", "DIV2K_valid_HR/0801.png"
    )
    found = read_dataset(root)
    assert (found.layout, found.split) == ("DIV", "train")
    assert [item.name for item in found.items] == ["0001", "0002"]
    assert [item.name for item in read_dataset(root, "valid").items] == ["0801"]
    with pytest.raises(OptionError, match="no split 'test'; it has train, valid"):
        read_dataset(root, "test")


@pytest.mark.parametrize("inner", ["DIV8K/DIV8K_train_HR", "DIV8K/train_HR", "DIV8K/train"])
def test_div8k(tmp_path: Path, inner: str) -> None:
    touch(tmp_path, f"{inner}/0001.png", f"{inner}/0002.png")
    found = read_dataset(tmp_path / "DIV8K")
    assert (found.layout, found.split, len(found.items)) == ("DIV", "train", 2)


def test_one_folder_of_div2k_is_any_folder(tmp_path: Path) -> None:
    touch(tmp_path, "DIV2K_train_HR/0001.png")
    assert [item.name for item in read_dataset(tmp_path / "DIV2K_train_HR").items] == ["0001"]


def test_realsr_pairs_of_both_cameras(tmp_path: Path) -> None:
    names = [f"RealSR(V3)/{camera}/Test/4/{camera}_001_{kind}.png" for camera in ("Canon", "Nikon") for kind in ("HR", "LR4")]
    root = touch(tmp_path, *names, "RealSR(V3)/Canon/Test/2/Canon_001_LR2.png", "RealSR(V3)/Canon/Train/4/Canon_002_LR4.png")
    found = read_dataset(root)
    assert (found.layout, found.split) == ("RealSR", "test")
    assert [item.path.name for item in found.items] == ["Canon_001_LR4.png", "Nikon_001_LR4.png"]
    assert [item.reference.name for item in found.items if item.reference] == ["Canon_001_HR.png", "Nikon_001_HR.png"]
    assert read_dataset(root, "train").items[0].reference is None


def test_drealsr_pairs(tmp_path: Path) -> None:
    root = touch(tmp_path, "Test_x4/test_LR/DSC_1_x1.png", "Test_x4/test_HR/DSC_1_x4.png", "Test_x2/test_LR/DSC_9_x1.png")
    found = read_dataset(root)
    assert (found.layout, found.split) == ("DRealSR", "test")
    assert [(item.path.name, item.reference and item.reference.name) for item in found.items] == [("DSC_1_x1.png", "DSC_1_x4.png")]


def test_split_folders(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/a/1.jpg", "validation/2.jpg", "test/b/3.webp")
    assert read_dataset(root).split == "test"
    assert [item.path.name for item in read_dataset(root, "valid").items] == ["2.jpg"]


def test_any_folder_with_unique_safe_names(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png", "b/1.png", "b/1.jpg", "b/é ü.png", ".hidden/2.png", "note.txt")
    found = read_dataset(root)
    assert found.layout == "folder"
    names = [item.name for item in found.items]
    assert len(set(names)) == len(names) == 4
    assert "a__1" in names
    assert all("/" not in name and " " not in name for name in names)
    assert len(read_dataset(root, limit=2).items) == 2


def test_names_differ_where_only_their_case_or_ending_does(tmp_path: Path) -> None:
    touch(tmp_path, "cat.png", "cat.jpg", "CAT.webp")
    names = [item.name.casefold() for item in read_dataset(tmp_path).items]
    assert len(set(names)) == 3


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="not there"):
        read_dataset(tmp_path / "none")
    with pytest.raises(OptionError, match="holds no pictures"):
        read_dataset(tmp_path)
    touch(tmp_path, "a.png")
    with pytest.raises(OptionError, match="is a file"):
        read_dataset(tmp_path / "a.png")
    with pytest.raises(OptionError, match="no splits"):
        read_dataset(tmp_path, "train")
