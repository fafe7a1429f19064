from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageCms

from chainzoom.errors import OutputError
from chainzoom.full.bigtiff import BigTiffWriter
from chainzoom.full.deepzoom import tiles_folder
from chainzoom.full.exif import directories, read_exif
from chainzoom.full.job import WRITERS
from chainzoom.full.journal import Journal
from chainzoom.full.png import PngWriter
from chainzoom.full.writers import TILE, Target, Writer, srgb_profile
from chainzoom.images import to_uint8, to_uint16
from chainzoom.photos import Photo
from chainzoom.pictures import read_provenance
from chainzoom.provenance import Provenance
from tests.conftest import natural

FACTS = Provenance("ab" * 32, 4.0, True, region=(0, 0, 300, 160))
PICTURE = natural(640, 1200)
ALPHA = natural(640, 1200, 5)[..., 0]
HEADER = {"work": 1}


def target(depth: int = 8, alpha: bool = False, exif: bytes = b"") -> Target:
    return Target(1200, 640, depth, alpha, FACTS, exif)


def write(writer: Writer, wanted: Target, only: int | None = None) -> None:
    for number in range(6):
        if number in writer.done:
            continue
        if only == 0:
            return
        x0, y0, x1, y1 = wanted.box(number)
        writer.write(number, PICTURE[y0:y1, x0:x1], ALPHA[y0:y1, x0:x1] if wanted.alpha else None)
        only = None if only is None else only - 1


def make(kind: str, folder: Path, wanted: Target, cuts: tuple[int, ...] = ()) -> Path:
    """The finished file; the work is interrupted after so many tiles, again and again."""
    work, out = folder / f"work-{len(cuts)}", folder / f"out-{len(cuts)}{kind}"
    work.mkdir()
    for only in (*cuts, None):
        writer = WRITERS[kind](work, wanted, Journal(work / "journal.jsonl", HEADER))
        write(writer, wanted, only)
        if only is None:
            writer.finish(out)
        writer.close()
    return out


@pytest.mark.parametrize("kind", [".tif", ".png"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_pixels_alpha_and_provenance_come_back(tmp_path: Path, kind: str, depth: int, alpha: bool) -> None:
    out = make(kind, tmp_path, target(depth, alpha))
    photo = Photo.open(out)
    assert (photo.width, photo.height, photo.bits, photo.has_alpha) == (1200, 640, depth, alpha)
    box, size = (0.0, 0.0, 1200.0, 640.0), (1200, 640)
    rounded = to_uint8(PICTURE) / 255 if depth == 8 else to_uint16(PICTURE) / 65535
    np.testing.assert_allclose(photo.read(box, size), rounded, atol=1e-7)
    if alpha:
        np.testing.assert_allclose(photo.read_alpha(box, size), ALPHA, atol=0.51 / (2**depth - 1))
    with PILImage.open(out) as image:
        packet = image.tag_v2[700] if kind == ".tif" else image.info["XML:com.adobe.xmp"].encode()  # type: ignore[attr-defined]
    assert b"algorithmicallyEnhanced" in packet
    assert FACTS.source_sha256.encode() in packet


def test_the_tiff_is_bigtiff_and_names_its_colour_space(tmp_path: Path) -> None:
    out = make(".tif", tmp_path, target())
    assert out.read_bytes()[:8] == b"II\x2b\0\x08\0\0\0"
    with PILImage.open(out) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        assert "not evidence" in image.tag_v2[270]  # type: ignore[attr-defined]
        assert image.tag_v2[305].startswith("chainzoom")  # type: ignore[attr-defined]
    assert srgb_profile() == srgb_profile()


@pytest.mark.parametrize(
    ("kind", "cuts"), [(".tif", (1,)), (".tif", (2, 0, 2)), (".png", (1,)), (".png", (2, 2)), (".png", (3, 0, 1)), (".dzi", (2, 2))]
)
def test_work_goes_on_where_it_stopped_and_ends_with_the_same_bytes(tmp_path: Path, kind: str, cuts: tuple[int, ...]) -> None:
    whole, pieced = make(kind, tmp_path, target(alpha=True)), make(kind, tmp_path, target(alpha=True), cuts)
    assert whole.read_bytes() == pieced.read_bytes()
    if kind == ".dzi":
        files = [path.relative_to(tiles_folder(whole)) for path in tiles_folder(whole).rglob("*.png")]
        assert len(files) > 10
        assert all((tiles_folder(whole) / path).read_bytes() == (tiles_folder(pieced) / path).read_bytes() for path in files)


def test_half_a_tile_after_the_journal_is_cut_off(tmp_path: Path) -> None:
    writer = BigTiffWriter(tmp_path, target(), Journal(tmp_path / "journal.jsonl", HEADER))
    write(writer, target(), 2)
    writer.close()
    with (tmp_path / "data.tif").open("ab") as file:
        file.write(b"half a tile")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"tile": 2, "at": 99')
    again = BigTiffWriter(tmp_path, target(), Journal(tmp_path / "journal.jsonl", HEADER))
    assert again.done == {0, 1}
    write(again, target())
    again.finish(tmp_path / "out.tif")
    again.close()
    assert (tmp_path / "out.tif").read_bytes() == make(".tif", tmp_path, target()).read_bytes()


def test_a_row_of_png_tiles_that_was_whole_but_not_packed(tmp_path: Path) -> None:
    writer = PngWriter(tmp_path, target(), Journal(tmp_path / "journal.jsonl", HEADER))
    write(writer, target(), 3)
    writer.close()
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert '"band"' in lines[-1]
    (tmp_path / "journal.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    again = PngWriter(tmp_path, target(), Journal(tmp_path / "journal.jsonl", HEADER))
    write(again, target())
    again.finish(tmp_path / "out.png")
    again.close()
    assert (tmp_path / "out.png").read_bytes() == make(".png", tmp_path, target()).read_bytes()


def test_a_deep_zoom_folder_is_a_pyramid(tmp_path: Path) -> None:
    out = make(".dzi", tmp_path, target())
    assert 'Width="1200" Height="640"' in out.read_text()
    files = tiles_folder(out)
    assert sorted(int(path.name) for path in files.iterdir()) == list(range(12))
    with PILImage.open(files / "10" / "1_0.png") as image:
        assert image.size == (600 - TILE, 320)
        half = np.asarray(image)
    expected = PICTURE.reshape(320, 2, 600, 2, 3).mean((1, 3))[:, TILE:]
    np.testing.assert_allclose(half / 255, expected, atol=1.01 / 255)
    with PILImage.open(files / "0" / "0_0.png") as image:
        assert image.size == (1, 1)
    assert '"true"' in json.dumps(read_provenance(files / "11" / "0_0.png")["chainzoom:synthesised"])
    assert read_provenance(files / "9" / "0_0.png")["chainzoom:synthesised"] == "false"


def test_exif_keeps_who_when_where_and_drops_what_described_the_old_pixels(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112], exif[0x010F], exif[0x013B], exif[0x0100] = 6, "Maker", "Ada", 999
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0xA002: 999, 0x927C: b"secret offsets", 0x829A: (1, 250)}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    PILImage.fromarray(to_uint8(natural(32, 32))).save(tmp_path / "photo.jpg", exif=exif)
    block = read_exif(tmp_path / "photo.jpg")
    main, details, place = directories(block)
    assert {entry.tag for entry in main} == {0x010F, 0x013B}
    assert {entry.tag for entry in details} == {0x9003, 0x829A, 0xA001}
    assert {entry.tag for entry in place} == {1, 2}
    for kind in (".tif", ".png"):
        (tmp_path / kind).mkdir()
        with PILImage.open(make(kind, tmp_path / kind, target(exif=block))) as image:
            found = image.getexif()
            assert (found[0x010F], found[0x013B], found.get(0x0112, 1)) == ("Maker", "Ada", 1)
            assert found.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
            assert found.get_ifd(0x8825)[2] == (52.0, 30.0, 0.0)


def test_no_or_broken_exif_is_nothing(tmp_path: Path) -> None:
    PILImage.fromarray(to_uint8(natural(32, 32))).save(tmp_path / "a.jpg")
    PILImage.fromarray(to_uint8(natural(32, 32))).save(tmp_path / "b.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_exif(tmp_path / "a.jpg") == read_exif(tmp_path / "b.jpg") == b""
    assert directories(b"") == ([], [], [])


def test_another_works_journal_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j", HEADER).close()
    again = Journal(tmp_path / "j", HEADER)
    assert again.entries == []
    again.close()
    with pytest.raises(OutputError, match="another enlargement"):
        Journal(tmp_path / "j", {"work": 2})


def test_tiles_come_row_by_row_to_a_png(tmp_path: Path) -> None:
    writer = PngWriter(tmp_path, target(), Journal(tmp_path / "journal.jsonl", HEADER))
    with pytest.raises(ValueError, match="row 0"):
        writer.write(4, PICTURE[:128, :512], None)
    writer.close()
