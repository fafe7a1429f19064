"""Folders of test pictures, read as they are laid out when unpacked.

DIV2K    DIV2K_train_HR/0001.png, DIV2K_valid_HR/; with LR folders beside them only the HR pictures are taken (the paper's protocol)
DIV8K    DIV8K_train_HR/, train_HR/ or train/ (and valid, test), 0001.png
RealSR   RealSR(V3)/{Canon,Nikon}/{Train,Test}/4/Canon_001_LR4.png with Canon_001_HR.png as its true pixels
DRealSR  {Train,Test}_x4/{train,test}_LR/DSC_1_x1.png with {train,test}_HR/DSC_1_x4.png
4KLSDB   train/, validation/ (or val/), test/ with pictures in them, at any depth
any other folder: every picture in it, at any depth
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chainzoom.errors import OptionError

Split = Literal["auto", "train", "valid", "test"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".avif", ".heic", ".heif"})
_HR = re.compile(r"(?:DIV[28]K_)?(?P<split>train|valid|test)(?:_HR)?$", re.IGNORECASE)
_FOLDERS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}
_REALSR = re.compile(r"(?P<stem>.+)_LR4$")
_UNSAFE = re.compile(r"[^\w.@+-]+")


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to zoom into.

    name       unique in its dataset, safe as a file name
    path       the file
    reference  a file with more true pixels of the same view (the HR picture of a LR-HR pair), or None
    material   what the zoom is to show: words for the backbone, appended to the prompter's; empty for none
    """

    name: str
    path: Path
    reference: Path | None = None
    material: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The pictures of a folder and how it was understood: ``layout`` names one of those above, ``split`` the part taken."""

    root: Path
    layout: str
    split: str
    items: tuple[Item, ...]


def read_dataset(root: Path, split: Split = "auto", limit: int | None = None) -> Dataset:
    """Find the pictures of a dataset folder; ``auto`` takes what the paper takes (train of DIV2K and DIV8K), else test, else all.

    ``limit`` keeps the first few. Raises OptionError for a missing folder, a split that is not there, or no pictures.
    """
    if not root.is_dir():
        raise OptionError(f"expected a folder of pictures; {root} is {'a file' if root.exists() else 'not there'}")
    for layout, find in _LAYOUTS.items():
        if found := find(root):
            part = _choose(split, found, layout, root)
            return Dataset(root, layout, part, _named(root, found[part], limit))
    if split != "auto":
        raise OptionError(f"{root} has no splits that are known; leave out --split, or name the folder of the split")
    pairs = [(path, None) for path in _pictures(root)]
    if not pairs:
        raise OptionError(f"{root} holds no pictures ({', '.join(sorted(SUFFIXES))}); name a folder with some")
    return Dataset(root, "folder", "all", _named(root, pairs, limit))


Pairs = Sequence[tuple[Path, Path | None]]


def _div(root: Path) -> dict[str, Pairs]:
    """DIV2K and DIV8K: flat HR folders."""
    folders = [folder for folder in (*sorted(root.iterdir()), *sorted(root.glob("*/*"))) if folder.is_dir() and _HR.match(folder.name)]
    if not any(folder.name.upper().endswith("_HR") for folder in folders) and not root.name.upper().startswith(("DIV2K", "DIV8K")):
        return {}
    found: dict[str, Pairs] = {}
    for folder in folders:
        match = _HR.match(folder.name)
        if match and (files := [(path, None) for path in _pictures(folder)]):
            found.setdefault(match["split"].lower(), files)
    return found


def _realsr(root: Path) -> dict[str, Pairs]:
    """RealSR: the x4 pairs of both cameras."""
    found: dict[str, list[tuple[Path, Path | None]]] = {}
    for path in _pictures(root):
        match, part = _REALSR.match(path.stem), path.parent.parent.name.lower()
        if match and path.parent.name == "4" and part in ("train", "test"):
            twin = path.with_name(f"{match['stem']}_HR{path.suffix}")
            found.setdefault(part, []).append((path, twin if twin.is_file() else None))
    return dict(found)


def _drealsr(root: Path) -> dict[str, Pairs]:
    """DRealSR: the x4 pairs."""
    found: dict[str, Pairs] = {}
    for folder in sorted(root.rglob("*_LR")):
        part = folder.name.lower().removesuffix("_lr")
        if part not in ("train", "test") or not folder.parent.name.lower().endswith("_x4"):
            continue
        truth = folder.with_name(folder.name[:-2] + "HR")
        pairs = []
        for path in _pictures(folder):
            twin = truth / f"{path.stem.removesuffix('_x1')}_x4{path.suffix}"
            pairs.append((path, twin if twin.is_file() else truth / path.name if (truth / path.name).is_file() else None))
        if pairs:
            found[part] = pairs
    return found


def _split_folders(root: Path) -> dict[str, Pairs]:
    """4KLSDB and others with a folder a split."""
    folders = {
        _FOLDERS[folder.name.lower()]: folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name.lower() in _FOLDERS
    }
    found: dict[str, Pairs] = {part: [(path, None) for path in _pictures(folder)] for part, folder in folders.items()}
    return {part: pairs for part, pairs in found.items() if pairs}


_LAYOUTS: dict[str, Callable[[Path], dict[str, Pairs]]] = {
    "RealSR": _realsr,
    "DRealSR": _drealsr,
    "DIV": _div,
    "splits": _split_folders,
}


def _choose(split: Split, found: dict[str, Pairs], layout: str, root: Path) -> str:
    if split == "auto":
        order = ("train", "valid", "test") if layout == "DIV" else ("test", "valid", "train")
        return next(part for part in order if part in found)
    if split not in found:
        raise OptionError(f"{root} (layout {layout}) has no split '{split}'; it has {', '.join(found)}")
    return split


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _named(root: Path, pairs: Iterable[tuple[Path, Path | None]], limit: int | None) -> tuple[Item, ...]:
    """Names from file names, with as much of their folders as makes them unique."""
    chosen = list(pairs)[:limit]
    common = Path(*_shared([path.relative_to(root).parent.parts for path, _ in chosen]))
    items: dict[str, Item] = {}
    for path, truth in chosen:
        relative = path.relative_to(root / common)
        name = _UNSAFE.sub("_", "__".join(relative.with_suffix("").parts))
        while name.casefold() in items:
            name += path.suffix.lower().replace(".", "-") if not name.endswith(path.suffix[1:].lower()) else "-2"
        items[name.casefold()] = Item(name, path, truth)
    return tuple(items.values())


def _shared(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The leading parts that all paths have."""
    first, last = min(paths), max(paths)
    count = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:count]
