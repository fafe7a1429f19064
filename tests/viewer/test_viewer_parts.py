"""The viewer's parts that need no server."""

from __future__ import annotations

import os
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.errors import ImageError, InputError, OptionError
from chainzoom.images import resize, to_uint8
from chainzoom.photos import Photo
from chainzoom.viewer import vendor
from chainzoom.viewer.cache import TileCache, trim_folders
from chainzoom.viewer.film import Place, regions
from chainzoom.viewer.library import Library, UploadLimits
from chainzoom.viewer.pixels import RealPixels
from chainzoom.viewer.pyramid import TILE, Pyramid
from chainzoom.viewer.queue import DroppedError, QueueFullError, TaskQueue
from chainzoom.viewer.specs import Made, TileTask, ViewSpec
from chainzoom.viewer.studio import Studio, StudioOptions
from tests.viewer import viewer_fakes

PNG = b"\x89PNG" + b"x" * 90 + b"IEND\xaeB`\x82"


def pattern(path: Path, width: int, height: int) -> Path:
    generator = np.random.default_rng(3)
    PILImage.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


class TestPyramid:
    def test_tiles_cover_every_level_once(self) -> None:
        pyramid = Pyramid(333, 200)
        for level in range(pyramid.levels - 5):
            width, height = pyramid.size(level)
            seen = np.zeros((height, width), np.int8)
            for row in range(-(-height // TILE)):
                for column in range(-(-width // TILE)):
                    x0, y0, x1, y1 = pyramid.tile(level, column, row).box
                    seen[y0:y1, x0:x1] += 1
            assert (seen == 1).all()

    def test_the_photo_and_its_top_are_levels(self) -> None:
        pyramid = Pyramid(512, 512)
        assert pyramid.scale(pyramid.level_of(1)) == 1
        assert pyramid.size(pyramid.levels) == (131072, 131072)
        assert pyramid.tile(pyramid.level_of(1), 0, 0).real
        assert not pyramid.tile(pyramid.level_of(2), 0, 0).real

    @pytest.mark.parametrize(("level", "column", "row"), [(-1, 0, 0), (99, 0, 0), (9, 9, 0), (9, 0, -1)])
    def test_what_does_not_exist_is_refused(self, level: int, column: int, row: int) -> None:
        with pytest.raises(OptionError):
            Pyramid(333, 200).tile(level, column, row)


class TestPixels:
    def test_1x_is_exact(self, tmp_path: Path) -> None:
        photo = Photo.open(pattern(tmp_path / "a.png", 300, 270))
        pixels = RealPixels(photo)
        data = pixels.tile(pixels.pyramid.tile(pixels.pyramid.level_of(1), 1, 1))
        (tmp_path / "t.png").write_bytes(data)
        got = np.asarray(PILImage.open(tmp_path / "t.png"))
        assert np.array_equal(got, np.asarray(PILImage.open(tmp_path / "a.png"))[256:270, 256:300])

    def test_small_levels_are_means(self, tmp_path: Path) -> None:
        pixels = RealPixels(Photo.open(pattern(tmp_path / "a.png", 256, 256)))
        tile = pixels.pyramid.tile(pixels.pyramid.level_of(0.25), 0, 0)
        (tmp_path / "t.png").write_bytes(pixels.tile(tile))
        got = np.asarray(PILImage.open(tmp_path / "t.png")).astype(float)
        wanted = np.asarray(PILImage.open(tmp_path / "a.png")).astype(float).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(got - wanted).max() <= 1.01

    def test_bicubic_tiles_join(self, tmp_path: Path) -> None:
        pixels = RealPixels(Photo.open(pattern(tmp_path / "a.png", 200, 80)))
        level = pixels.pyramid.level_of(4)
        parts = []
        for column in range(2):
            (tmp_path / "t.png").write_bytes(pixels.tile(pixels.pyramid.tile(level, column, 0)))
            parts.append(np.asarray(PILImage.open(tmp_path / "t.png")).astype(int))
        whole = to_uint8(resize(pixels.photo.read((0, 0, 200, 80), (200, 80)), (800, 320), "bicubic")).astype(int)
        assert np.abs(np.concatenate(parts, 1) - whole[:256, :512]).max() <= 1

    def test_alpha_is_kept(self, tmp_path: Path) -> None:
        PILImage.new("RGBA", (64, 64), (200, 10, 10, 90)).save(tmp_path / "a.png")
        pixels = RealPixels(Photo.open(tmp_path / "a.png"))
        for scale in (0.5, 1, 2):
            (tmp_path / "t.png").write_bytes(pixels.tile(pixels.pyramid.tile(pixels.pyramid.level_of(scale), 0, 0)))
            assert PILImage.open(tmp_path / "t.png").getpixel((5, 5)) == (200, 10, 10, 90)


class TestCache:
    def test_survives_a_restart(self, tmp_path: Path) -> None:
        TileCache(tmp_path, 10_000).put("ab/1_2_3", PNG)
        again = TileCache(tmp_path, 10_000)
        assert again.get("ab/1_2_3") == PNG
        assert again.used == len(PNG)

    def test_is_bounded_and_forgets_the_longest_unused(self, tmp_path: Path) -> None:
        cache = TileCache(tmp_path, 3 * len(PNG))
        for number in range(3):
            cache.put(f"ab/{number}", PNG)
        cache.get("ab/0")
        cache.put("ab/3", PNG)
        assert [cache.get(f"ab/{number}") is not None for number in range(4)] == [True, False, True, True]
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.png")) == cache.used <= 3 * len(PNG)

    def test_a_torn_file_is_no_tile(self, tmp_path: Path) -> None:
        cache = TileCache(tmp_path, 10_000)
        cache.put("ab/1", PNG)
        (tmp_path / "ab" / "1.png").write_bytes(PNG[:20])
        assert cache.get("ab/1") is None
        assert cache.used == 0

    @pytest.mark.parametrize("name", ["../x", "ab/../../x", "ab", "/etc/x", "ab/x/y"])
    def test_names_stay_inside(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(Exception, match="identity/level"):
            TileCache(tmp_path / "c", 10_000).put(name, PNG)

    def test_old_folders_leave_first(self, tmp_path: Path) -> None:
        for age, name in enumerate(("new", "old", "mine")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "w.npy").write_bytes(bytes(100))
            os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
        trim_folders(tmp_path, 200, tmp_path / "mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new"]


class TestQueue:
    def test_the_middle_comes_first(self) -> None:
        queue = TaskQueue()
        for order, key in [(3, "far"), (0, "middle"), (1, "near")]:
            queue.ask(key, key, order)
        assert [task.key for task in (queue.take(1), queue.take(1), queue.take(1)) if task] == ["middle", "near", "far"]

    def test_what_nobody_waits_for_is_dropped(self) -> None:
        queue = TaskQueue()
        gone, stays = queue.ask("a", 1), queue.ask("b", 2, order=5)
        gone.release()
        task = queue.take(1)
        assert task is not None
        assert task.key == "b"
        assert queue.dropped == 1
        with pytest.raises(DroppedError):
            gone.future.result(0)
        queue.finish(task, "done")
        assert stays.future.result(0) == "done"

    def test_equal_keys_share_a_task(self) -> None:
        queue = TaskQueue()
        first, second = queue.ask("a", 1, 9), queue.ask("a", 1, 2)
        first.release()
        assert len(queue) == 1
        task = queue.take(1)
        assert task is not None
        assert (task.order, task.abandoned) == (2, False)
        second.release()
        assert task.abandoned

    def test_a_flood_is_refused_and_the_rest_is_served(self) -> None:
        queue = TaskQueue(limit=6, each=4)
        tickets = [queue.ask(number, number, peer="one") for number in range(4)]
        with pytest.raises(QueueFullError):
            queue.ask(9, 9, peer="one")
        queue.ask(10, 10, peer="two")
        queue.ask(11, 11, peer="two")
        with pytest.raises(QueueFullError):
            queue.ask(12, 12, peer="three")
        tickets[0].release()
        queue.ask(13, 13, peer="one")
        assert queue.refused == 2

    def test_closing_lets_everybody_go(self) -> None:
        queue = TaskQueue()
        ticket = queue.ask("a", 1)
        queue.close()
        assert queue.take(1) is None
        with pytest.raises(DroppedError):
            ticket.future.result(0)


class TestLibrary:
    def library(self, tmp_path: Path, **limits: Any) -> Library:
        root = tmp_path / "photos"
        (root / "inner").mkdir(parents=True, exist_ok=True)
        pattern(root / "a.png", 40, 30)
        pattern(root / "inner" / "b.jpg", 40, 30)
        (root / "notes.txt").write_text("no picture")
        (tmp_path / "secret.png").write_bytes((root / "a.png").read_bytes())
        (root / "way-out.png").symlink_to(tmp_path / "secret.png")
        return Library(root, tmp_path / "uploads", UploadLimits(**limits))

    def test_holds_pictures_inside_the_folder_alone(self, tmp_path: Path) -> None:
        assert [entry.name for entry in self.library(tmp_path).entries()] == ["a.png", str(Path("inner") / "b.jpg")]

    def test_an_id_is_no_path(self, tmp_path: Path) -> None:
        library = self.library(tmp_path)
        for name in ("a.png", "../secret.png", "/etc/passwd", ""):
            with pytest.raises(OptionError, match="there is no photo"):
                library.entry(name)

    def test_an_upload_lands_inside_under_a_harmless_name(self, tmp_path: Path) -> None:
        library = self.library(tmp_path)
        upload = library.receive()
        upload.write((tmp_path / "secret.png").read_bytes())
        entry = library.accept(upload, "../../etc/evil\\..\\x.png")
        assert entry.path.parent == tmp_path / "uploads"
        assert entry.name == "x.png"
        assert Library(None, tmp_path / "uploads").entry(entry.id).name == "x.png"

    def test_too_many_bytes_leave_nothing(self, tmp_path: Path) -> None:
        library = self.library(tmp_path, each=1000)
        upload = library.receive()
        with pytest.raises(ImageError, match="at most"):
            upload.write(bytes(1001))
        upload.discard()
        assert not list((tmp_path / "uploads").iterdir())

    @pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + bytes(100)])
    def test_what_is_no_picture_leaves_nothing(self, tmp_path: Path, data: bytes) -> None:
        library = self.library(tmp_path)
        upload = library.receive()
        upload.write(data)
        with pytest.raises(ImageError) as caught:
            library.accept(upload, "x.png")
        assert str(tmp_path) not in str(caught.value)
        assert not list((tmp_path / "uploads").iterdir())

    def test_too_many_pixels_are_refused(self, tmp_path: Path) -> None:
        library = self.library(tmp_path, pixels=1000)
        upload = library.receive()
        upload.write((tmp_path / "secret.png").read_bytes())
        with pytest.raises(ImageError):
            library.accept(upload, "x.png")

    def test_uploads_together_are_bounded(self, tmp_path: Path) -> None:
        size = len(pattern(tmp_path / "p.png", 64, 64).read_bytes())
        library = self.library(tmp_path, total=2 * size + size // 2)
        for number in range(4):
            upload = library.receive()
            upload.write(pattern(tmp_path / "p.png", 64, 64 + number).read_bytes())
            library.accept(upload, f"{number}.png")
            time.sleep(0.01)
        assert [entry.name for entry in library.entries() if entry.uploaded] != []
        assert sum(path.stat().st_size for path in (tmp_path / "uploads").iterdir()) <= library.limits.total


class TestFilm:
    def test_regions_are_nested_and_end_where_asked(self) -> None:
        found = regions(Place(100, 100, 180), Place(60, 140, 5), 200, 200, 256)
        for outer, inner in pairwise(found):
            assert outer[0] <= inner[0] + 1e-9
            assert outer[1] <= inner[1] + 1e-9
            assert outer[2] >= inner[2] - 1e-9
            assert outer[3] >= inner[3] - 1e-9
        assert found[-1] == pytest.approx((57.5, 137.5, 62.5, 142.5))
        assert len(found) == 4

    def test_a_start_elsewhere_is_widened_until_it_holds_the_end(self) -> None:
        found = regions(Place(20, 20, 10), Place(150, 150, 5), 200, 200, 256)
        assert found[0][2] >= found[-1][2]

    def test_two_equal_views_make_no_film(self) -> None:
        with pytest.raises(OptionError, match="deeper"):
            regions(Place(50, 50, 10), Place(50, 50, 10), 100, 100, 256)


class TestVendor:
    def test_a_package_with_another_hash_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.tgz").write_bytes(b"something else")
        with pytest.raises(vendor.VendorError, match="sha512"):
            vendor.unpack(tmp_path / "x.tgz", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_without_npm_the_line_says_what_to_install(self, tmp_path: Path) -> None:
        with pytest.raises(vendor.VendorError, match=r"install Node\.js"):
            vendor.fetch(tmp_path, npm="no-such-npm-here")

    def test_missing_files_are_noticed(self, tmp_path: Path) -> None:
        assert vendor.missing(tmp_path)
        for name in vendor.FILES.values():
            (tmp_path / name).write_text("x")
        assert not vendor.missing(tmp_path)


class TestStudio:
    def test_a_view_whose_windows_were_removed_is_made_again(self, tmp_path: Path) -> None:
        photo = Photo.open(pattern(tmp_path / "a.png", 60, 50))
        studio = Studio(StudioOptions(tmp_path / "windows", 1 << 20, viewer_fakes.quick))
        task = TileTask(ViewSpec(photo.path, photo.sha256), 16.0, (256, 256, 512, 512))
        first = studio.answer(task)
        (folder,) = (tmp_path / "windows").iterdir()
        assert list(folder.glob("*.npy"))
        shutil.rmtree(folder)
        again = studio.answer(task)
        assert isinstance(first, Made)
        assert isinstance(again, Made)
        assert again.data == first.data
        assert again.windows == first.windows

    def test_what_nobody_waits_for_stops_at_the_next_window(self, tmp_path: Path) -> None:
        photo = Photo.open(pattern(tmp_path / "a.png", 200, 200))
        asked: list[int] = []
        studio = Studio(StudioOptions(tmp_path / "windows", 1 << 20, viewer_fakes.quick), lambda: len(asked) == 2 or bool(asked.append(1)))
        with pytest.raises(DroppedError):
            studio.answer(TileTask(ViewSpec(photo.path, photo.sha256), 4.0, (0, 0, 800, 800)))
        assert len(asked) == 2

    def test_levels_between_are_means_of_the_next(self, tmp_path: Path) -> None:
        photo = Photo.open(pattern(tmp_path / "a.png", 60, 50))
        studio = Studio(StudioOptions(tmp_path / "windows", 1 << 20, viewer_fakes.quick))
        spec = ViewSpec(photo.path, photo.sha256)
        pictures = []
        for scale, box in ((8.0, (64, 64, 128, 128)), (16.0, (128, 128, 256, 256))):
            made = studio.answer(TileTask(spec, scale, box))
            assert isinstance(made, Made)
            (tmp_path / "t.png").write_bytes(made.data)
            pictures.append(np.asarray(PILImage.open(tmp_path / "t.png")).astype(float))
        assert np.abs(pictures[0] - pictures[1].reshape(64, 2, 64, 2, 3).mean((1, 3))).max() <= 1.01


def test_a_checkout_without_the_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vendor, "missing", lambda: True)
    with pytest.raises(InputError, match=r"python -m chainzoom\.viewer\.vendor"):
        vendor.check_assets()
