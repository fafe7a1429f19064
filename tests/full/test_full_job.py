from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.backbones.interpolation import Bicubic
from chainzoom.errors import BackendError, OptionError, OutputError
from chainzoom.full.estimate import Estimate, duration, size
from chainzoom.full.job import FullJob, FullRequest, record_path
from chainzoom.images import Image, to_uint8
from chainzoom.photos import Photo
from tests.conftest import natural

KILLED = """
import os, sys
from pathlib import Path
from chainzoom.full import journal
from chainzoom.full.job import FullJob, FullRequest
journal._EVERY = 0
for tick in FullJob(FullRequest(Path(sys.argv[1]), Path(sys.argv[2]), 4.0, "bicubic")).run():
    if tick.done == 2:
        os._exit(9)
"""


def request(photo: Path, out: Path, **options: object) -> FullRequest:
    return FullRequest(photo, out, **{"preset": "bicubic", **options})  # type: ignore[arg-type]


def run(wanted: FullRequest) -> list[tuple[int, int]]:
    return [(tick.done, tick.total) for tick in FullJob(wanted).run()]


def pixels(path: Path) -> Image:
    photo = Photo.open(path)
    return photo.read((0, 0, photo.width, photo.height), (photo.width, photo.height))


@pytest.mark.parametrize("to", [4.0, 2.5, 1.0])
def test_the_file_holds_what_the_planes_hold(tmp_path: Path, photo_file: Path, to: float) -> None:
    out = tmp_path / "big.png"
    ticks = run(request(photo_file, out, to=to))
    assert ticks[-1][0] == ticks[-1][1]
    job = FullJob(request(photo_file, tmp_path / "other.png", to=to))
    assert (job.target.width, job.target.height) == (int(256 * to), int(192 * to))
    whole = job.planes.read_at(to, (0, 0, job.target.width, job.target.height))
    assert np.abs(to_uint8(whole).astype(int) - np.rint(pixels(out) * 255).astype(int)).max() <= 1
    assert not job.work.exists()
    record = json.loads(record_path(out).read_text())
    assert (record["status"], record["to"], record["width"]) == ("complete", to, int(256 * to))
    assert record["source"]["sha256"] == job.photo.sha256
    assert record["windows"] == ({} if to == 1 else {"1": 4})


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, photo_file: Path) -> None:
    out = tmp_path / "big.tif"
    killed = subprocess.run([sys.executable, "-c", KILLED, photo_file, out], check=False, timeout=60)
    assert killed.returncode == 9
    assert not out.exists()
    with pytest.raises(OutputError, match="--resume"):
        FullJob(request(photo_file, out))
    job = FullJob(request(photo_file, out, resume=True))
    done = 4 - job.tiles_left()
    assert done in (1, 2)  # the last tile may not have been noted
    ticks = [(tick.done, tick.total) for tick in job.run()]
    assert ticks[0] == (done, 4)
    run(request(photo_file, tmp_path / "whole.tif"))
    assert out.read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_a_stopped_run_keeps_its_work_for_the_same_enlargement_alone(tmp_path: Path, photo_file: Path) -> None:
    out = tmp_path / "big.png"
    steps = FullJob(request(photo_file, out)).run()
    for _ in range(3):
        next(steps)
    with pytest.raises(OutputError, match="another run"):
        next(FullJob(request(photo_file, out, resume=True)).run())
    steps.close()  # type: ignore[attr-defined]
    with pytest.raises(OutputError, match="another enlargement"):
        run(request(photo_file, out, resume=True, consistency=1.0))
    assert run(request(photo_file, out, resume=True))[0] == (2, 4)
    with pytest.raises(OutputError, match="--overwrite"):
        FullJob(request(photo_file, out))
    assert run(request(photo_file, out, overwrite=True))[0] == (0, 4)


def test_alpha_is_kept_and_pixels_are_upright(tmp_path: Path) -> None:
    samples = to_uint8(np.concatenate((natural(40, 60), natural(40, 60, 3)[..., :1]), axis=-1))
    exif = PILImage.Exif()
    exif[0x0112] = 6
    PILImage.fromarray(samples).save(tmp_path / "a.png", exif=exif)
    for name in ("big.tif", "big.png"):
        run(request(tmp_path / "a.png", tmp_path / name))
        with PILImage.open(tmp_path / name) as image:
            assert (image.mode, image.size) == ("RGBA", (160, 240))
            small = np.asarray(image.resize((40, 60), PILImage.Resampling.BOX), dtype=int)
        upright = np.rot90(samples, -1).astype(int)
        assert np.abs(small[..., 3] - upright[..., 3]).mean() < 4


def test_what_went_wrong_and_was_mended_is_in_the_record(tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Bicubic.upscale
    calls = []

    def failing(self: Bicubic, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        calls.append(image.shape)
        if max(image.shape[:2]) > 100:
            raise MemoryError
        return plain(self, image) * (0 if len(calls) == 5 else 1)

    monkeypatch.setattr(Bicubic, "upscale", failing)
    said = [incident for tick in FullJob(request(photo_file, tmp_path / "big.tif")).run() for incident in tick.incidents]
    assert {incident.kind for incident in said} == {"redone", "memory"}
    record = json.loads((tmp_path / "big.tif.json").read_text())
    assert [incident["kind"] for incident in record["incidents"]] == [incident.kind for incident in said]
    assert "80 px" in json.dumps(record["incidents"])


def test_a_backbone_that_never_works_leaves_a_run_that_can_go_on(tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Bicubic, "upscale", lambda self, image, prompt="", *, seed=0: np.zeros((image.shape[0] * 4, image.shape[1] * 4, 3), "f")
    )
    with pytest.raises(BackendError, match="black"):
        run(request(photo_file, tmp_path / "big.tif"))
    assert not (tmp_path / "big.tif").exists()
    monkeypatch.undo()
    run(request(photo_file, tmp_path / "big.tif", resume=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": 0.5}, "--to takes"),
        ({"to": float("nan")}, "--to takes"),
        ({"to": 4.0**15}, "at most"),
        ({"out": "big.jpg"}, r"ends in \.tif, \.png or \.dzi"),
        ({"out": "big.dzi", "depth": 16}, "8 bits"),
        ({"out": "nowhere/big.tif"}, "does not exist"),
        ({"out": "."}, "ends in"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    tmp_path: Path, photo_file: Path, options: dict[str, object], said: str
) -> None:
    out = tmp_path / str(options.pop("out", "big.tif"))
    with pytest.raises((OptionError, OutputError), match=said):
        FullJob(request(photo_file, out, **options))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


def test_estimates_count_what_is_left(tmp_path: Path, photo_file: Path) -> None:
    job = FullJob(request(photo_file, tmp_path / "big.tif", to=64))
    known = job.estimate()
    assert known.windows == job.planes.count(3)
    assert known.seconds > 0
    assert 0 < known.file_bytes <= job.target.raw_bytes
    assert not job.work.exists()
    assert Estimate({}, 601, 0, 0, 0, 2).ask
    assert Estimate({}, 1, 0, 3 << 30, 0, 2).ask
    assert not Estimate({}, 599, 0, 1 << 20, 0, 2).ask
    assert (duration(30), duration(300), duration(9000)) == ("30 s", "5 min", "2.5 h")
    assert (size(12), size(3_460_000_000)) == ("12 B", "3.46 GB")
