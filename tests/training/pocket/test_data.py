"""Preparing training pictures from tiny packages made here: no network, no torch."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from chainzoom.cli.train_pocket_data import pocket_data
from chainzoom.errors import ChainzoomError, OptionError, OutputError
from chainzoom.training.pocket.data import packages, prepare
from chainzoom.training.pocket.data.sources import MATERIALS, DataError, Picture, Source, load_sources, read_source


def pixels(seed: int, width: int = 12, height: int = 8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(seed: int, **size: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, **size)).save(out, "PNG")
    return out.getvalue()


def dds(rgba: tuple[int, int, int, int]) -> bytes:
    """A 4x4 uncompressed 32-bit DDS file of one colour."""
    r, g, b, a = rgba
    pixel_format = struct.pack("<2I4s5I", 32, 0x41, b"\0" * 4, 32, 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack("<7I", 124, 0x100F, 4, 4, 16, 0, 0) + b"\0" * 44 + pixel_format + struct.pack("<5I", 0x1000, 0, 0, 0, 0)
    return b"DDS " + header + bytes((b, g, r, a)) * 16


def deb(files: dict[str, bytes], data: str = "data.tar.xz") -> bytes:
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w:xz" if data.endswith("xz") else "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (data, tar_bytes.getvalue())):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    return out


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def source(archive: bytes, cache: Path, *, path: str = "pool/tiny_1_all.deb", registry: str = "debian", **more: Any) -> Source:
    """A package whose file already lies in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    (cache / path.rsplit("/", 1)[-1]).write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    return Source("tiny", "1", registry, path, digest, len(archive), "CC0-1.0", "nobody", **more)


def taken(origin: str, **more: Any) -> Picture:
    return Picture(origin=origin, caption="green grass", materials=("grass",), group="g", **more)


def run(chosen: list[Source], out: Path, cache: Path) -> list[prepare.Row]:
    return prepare.prepare(chosen, out, cache, tell=lambda *_: None, drawn=lambda *_: None)


def test_a_deb_becomes_pictures_a_manifest_and_licences(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    picture = taken("usr/a.png", split="test", licence="CC-BY-4.0")
    tiny = source(deb({"usr/a.png": png(1), "usr/b.png": png(2)}), cache, pictures=(picture, taken("usr/b.png")))
    rows = run([tiny], tmp_path / "out", cache)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["pictures/tiny-usr-a.png", "pictures/tiny-usr-b.png"] == [row.file for row in rows]
    first = lines[0]
    assert (first["split"], first["licence"], lines[1]["licence"], first["source"]) == ("test", "CC-BY-4.0", "CC0-1.0", "tiny 1")
    assert (first["materials"], first["width"], first["height"]) == (["grass"], 12, 8)
    written = tmp_path / "out" / first["file"]
    assert first["sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert np.array_equal(np.asarray(Image.open(written)), pixels(1))
    text = (tmp_path / "out" / "LICENCES.md").read_text()
    assert "tiny 1" in text
    assert "CC-BY-4.0 (1), CC0-1.0 (1)" in text
    assert "nobody" in text


def test_pictures_in_a_zip_in_a_deb_lose_alpha(tmp_path: Path) -> None:
    inner = zipped({"art/grass.dds": dds((10, 200, 30, 0))})
    tiny = source(deb({"usr/public.zip": inner}, "data.tar.gz"), tmp_path, container="usr/public.zip", pictures=(taken("art/grass.dds"),))
    row = run([tiny], tmp_path / "out", tmp_path)[0]
    image = Image.open(tmp_path / "out" / row.file)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (10, 200, 30)


def test_crops_and_halvings(tmp_path: Path) -> None:
    picture = taken("t/a.png", crop=(0.5, 0.0, 1.0, 0.5), halvings=1)
    tiny = source(zipped({"t/a.png": png(3)}), tmp_path, path="tiny-1-py3-none-any.whl", registry="pypi", pictures=(picture,))
    row = run([tiny], tmp_path / "out", tmp_path)[0]
    part = pixels(3)[:4, 6:].astype(float)
    means = part.reshape(2, 2, 3, 2, 3).mean((1, 3))
    assert np.abs(np.asarray(Image.open(tmp_path / "out" / row.file)) - means).max() <= 1  # two passes, each rounded


def test_the_same_packages_give_the_same_bytes_and_finished_pictures_stay(tmp_path: Path) -> None:
    tiny = source(deb({"usr/a.png": png(1)}), tmp_path, pictures=(taken("usr/a.png"),))
    run([tiny], tmp_path / "one", tmp_path)
    run([tiny], tmp_path / "two", tmp_path)
    manifest = (tmp_path / "one" / "manifest.jsonl").read_bytes()
    assert manifest == (tmp_path / "two" / "manifest.jsonl").read_bytes()
    written = tmp_path / "one" / "pictures" / "tiny-usr-a.png"
    before = written.stat().st_mtime_ns
    run([tiny], tmp_path / "one", tmp_path)
    assert written.stat().st_mtime_ns == before
    other = Source(**{name: getattr(tiny, name) for name in Source.__slots__} | {"pictures": (taken("usr/a.png", crop=(0, 0, 0.5, 1)),)})
    assert run([other], tmp_path / "one", tmp_path)[0].width == 6


def test_an_interrupted_run_leaves_no_manifest_and_goes_on(tmp_path: Path) -> None:
    pictures = (taken("usr/a.png"), taken("usr/b.png"))
    tiny = source(deb({"usr/a.png": png(1), "usr/b.png": png(2)}), tmp_path, pictures=pictures)

    def stop(_: Source, count: int) -> None:
        if count == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare([tiny], tmp_path / "out", tmp_path, tell=lambda *_: None, drawn=stop)
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    assert [path.name for path in (tmp_path / "out" / "pictures").iterdir()] == ["tiny-usr-a.png"]
    assert len(run([tiny], tmp_path / "out", tmp_path)) == 2


def test_damaged_packages_say_so(tmp_path: Path) -> None:
    good = deb({"usr/a.png": png(1)})
    for broken in (good[: len(good) // 2], b"not a package", good.replace(b"data.tar.xz", b"nota.tar.xz")):
        tiny = source(broken, tmp_path, pictures=(taken("usr/a.png"),))
        with pytest.raises(DataError, match="delete it and run the same command again"):
            run([tiny], tmp_path / "out", tmp_path)


def test_what_a_package_lacks_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    tiny = source(deb({"usr/a.png": b"no picture"}), tmp_path / "a", pictures=(taken("usr/a.png"),))
    with pytest.raises(DataError, match=r"usr/a\.png cannot be read as a picture"):
        run([tiny], tmp_path / "out", tmp_path / "a")
    tiny = source(deb({"usr/a.png": png(1)}), tmp_path / "b", pictures=(taken("usr/c.png"),))
    with pytest.raises(DataError, match=r"has no usr/c\.png"):
        run([tiny], tmp_path / "out", tmp_path / "b")


def test_downloads_are_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = deb({"usr/a.png": png(1)})
    tiny = source(archive, tmp_path / "elsewhere", pictures=(taken("usr/a.png"),))
    asked: list[str] = []
    served = [b"wrong" + archive[5:], archive]

    def fake(url: str, part: Path, **_: Any) -> None:
        asked.append(url)
        part.write_bytes(served.pop(0))

    monkeypatch.setattr(packages, "download", fake)
    bring = lambda: packages.bring(tiny, tmp_path / "cache", mirror="https://mirror.invalid/debian/", tell=lambda *_: None)  # noqa: E731
    with pytest.raises(DataError, match="not the file that was reviewed"):
        bring()
    assert list((tmp_path / "cache").iterdir()) == []
    assert bring().read_bytes() == archive
    bring()
    assert asked == ["https://mirror.invalid/debian/pool/tiny_1_all.deb"] * 2


def test_a_full_disk_is_told_before_the_download(tmp_path: Path) -> None:
    huge = Source("tiny", "1", "debian", "tiny.deb", "0" * 64, 10**18, "CC0-1.0", "nobody")
    with pytest.raises(OutputError, match="too full"):
        packages.bring(huge, tmp_path, mirror="https://mirror.invalid", tell=lambda *_: None)


def test_offline_says_where_to_put_the_file(tmp_path: Path) -> None:
    absent = Source("tiny", "1", "debian", "tiny.deb", "0" * 64, 5, "CC0-1.0", "nobody")
    with pytest.raises(DataError, match=r"without a connection, copy tiny\.deb into"):
        packages.bring(absent, tmp_path, mirror="http://127.0.0.1:9", tell=lambda *_: None, sleep=lambda _: None)


def test_a_wheel_of_another_python_is_asked_for_by_its_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    content = zipped({"a.png": png(1)})
    digest = hashlib.sha256(content).hexdigest()

    def pip(tool: list[str], cwd: str, **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(tool[tool.index("--only-binary=:all:") + 1 :])
        (Path(cwd) / "a.whl").write_bytes(content)
        return subprocess.CompletedProcess(tool, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    for wheel in ("tiny-1-py3-none-any.whl", "tiny-1-cp39-cp39-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"):
        tiny = Source("tiny", "1", "pypi", wheel, digest, len(content), "CC0-1.0", "nobody")
        assert packages.bring(tiny, tmp_path, tell=lambda *_: None) == tmp_path / wheel
    python = ["--implementation", "cp", "--python-version", "39", "--abi", "cp39"]
    system = ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"]
    assert asked == [["tiny==1"], [*python, *system, "tiny==1"]]


def test_reviewed_lists_are_checked() -> None:
    row = {"name": "n", "version": "1", "registry": "debian", "path": "p", "sha256": "", "size": 1, "licence": "l", "attribution": "a"}
    good = read_source(row, 'prefix = "u/"\nsuffix = ".png"\npictures = [{ origin = "x", caption = "c", materials = ["wood"] }]')
    assert good.pictures[0].origin == "u/x.png"
    assert good.pictures[0].group == "n/u/x.png"
    for wrong in ('materials = ["cheese"]', 'split = "some"', "crop = [0.5, 0, 0.5, 1]"):
        with pytest.raises(ChainzoomError, match="x: "):
            read_source(row, f'pictures = [{{ origin = "x", caption = "c", {wrong} }}]')


def test_the_shipped_lists_hold_together() -> None:
    sources = load_sources()
    pictures = [picture for chosen in sources for picture in chosen.pictures]
    assert all(picture.caption and len(chosen.sha256) == 64 for chosen in sources for picture in chosen.pictures)
    splits: dict[str, set[str]] = {}
    for picture in pictures:
        splits.setdefault(picture.group, set()).add(picture.split)
    assert [group for group, found in splits.items() if len(found) > 1] == []
    for material in set(MATERIALS.split(", ")) - {"wicker", "skin"}:
        textures = [picture.split for picture in pictures if picture.kind == "texture" and material in picture.materials]
        assert not textures or {"train", "test"} <= set(textures), material
    for chosen in sources:
        names = [prepare.file_name(chosen, picture.origin) for picture in chosen.pictures]
        assert len(set(names)) == len(names)
    with pytest.raises(OptionError, match="unknown package nothing"):
        load_sources(("nothing",))


def test_packages_held_out_whole_are_never_trained_on() -> None:
    seen = [chosen for chosen in load_sources() if any(picture.split == "train" for picture in chosen.pictures)]
    held = [chosen for chosen in load_sources() if chosen not in seen]
    trained = {picture.group for chosen in seen for picture in chosen.pictures}
    pictures = [picture for chosen in held for picture in chosen.pictures]
    assert len(held) == 10
    assert trained.isdisjoint(picture.group for picture in pictures)
    assert all(len(picture.materials) == 1 for picture in pictures)
    groups: dict[str, set[str]] = {}
    for picture in pictures:
        groups.setdefault(picture.materials[0], set()).add(picture.group)
    few = {material: len(groups[material]) for material in ("rock", "grass", "metal", "concrete", "sand") if len(groups[material]) < 10}
    assert not few


def test_the_command_prints_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = source(deb({"usr/a.png": png(1)}), tmp_path / "cache", pictures=(taken("usr/a.png"),))
    monkeypatch.setattr("chainzoom.cli.train_pocket_data.load_sources", lambda only: (tiny,))
    done = CliRunner().invoke(pocket_data, [str(tmp_path / "out"), "--cache", str(tmp_path / "cache")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "grass     1      0" in done.output
    assert "1 pictures:" in done.output
