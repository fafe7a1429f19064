from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from chainzoom.errors import BackendError, OptionError, OutputError
from chainzoom.images import clip, from_uint, psnr, resize
from chainzoom.report import film
from chainzoom.report.camera import Window, around, camera_path
from chainzoom.report.film import choose_encoder, film_views, layers_of, render_film, view

POINTS = [(0.36, 0.33), (0.62, 0.41), (0.0, 0.0), (1.0, 0.0), (0.02, 0.98), (0.97, 0.5)]


def regions(frames):
    return [frame.region for frame in frames]


def views_of(frames):
    return film_views(frames, list(camera_path(regions(frames))), 64)


def motion(windows):
    return [(a, b) for a, b in pairwise(windows) if a.side != b.side]


@pytest.mark.parametrize("at", POINTS)
def test_camera_goes_from_the_whole_photo_to_exactly_the_last_region(chain, at) -> None:
    frames = chain(at)
    windows = list(camera_path(regions(frames)))
    assert windows[0] == Window(0, -30, 180)
    assert windows[-1] == around(frames[-1].region)
    assert windows[-1].side == pytest.approx(frames[-1].region[2] - frames[-1].region[0], rel=1e-9)
    assert len({w.side for w in windows[:15]}) == len({w.side for w in windows[-15:]}) == 1, "no hold at the ends"


@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("photo_size", [(180, 120), (90, 200), (64, 64)])
def test_camera_never_looks_outside_the_photo(chain, at, photo_size) -> None:
    width, height = photo_size
    for w in camera_path(regions(chain(at, photo_size=photo_size))):
        slack = 1e-9 * w.side
        for start, extent in ((w.x0, width), (w.y0, height)):
            if w.side <= extent:
                assert start >= -slack
                assert start + w.side <= extent + slack
            else:
                assert start <= slack, "the photo must be whole while it is smaller than the screen"
                assert start + w.side >= extent - slack


@pytest.mark.parametrize("at", POINTS)
def test_camera_has_constant_speed_and_no_kinks(chain, at) -> None:
    windows = list(camera_path(regions(chain(at))))
    pairs = motion(windows)
    speeds = [math.log(a.side / b.side) for a, b in pairs]
    middle = speeds[len(speeds) // 4 : -len(speeds) // 4]
    assert max(middle) == pytest.approx(min(middle), rel=1e-6)
    assert max(middle) == pytest.approx(math.log(4) / 1.4 / 30, rel=0.02)
    assert max(speeds) == pytest.approx(max(middle), rel=1e-6)
    # The point that stays put on the screen, in screens: a jump is a visible change of direction.
    fixed = np.array(
        [((b.x0 - a.x0) / (a.side - b.side), (b.y0 - a.y0) / (a.side - b.side)) for a, b in pairs if a.side - b.side > 1e-3 * a.side]
    )
    assert np.abs(np.diff(fixed, axis=0)).max() < 0.3


@pytest.mark.parametrize("at", POINTS)
def test_camera_passes_close_to_every_state(chain, at) -> None:
    frames = chain(at)
    windows = list(camera_path(regions(frames), fps=240))
    for frame in frames:
        target = around(frame.region)
        nearest = min(windows, key=lambda w: abs(math.log(w.side / target.side)))
        assert abs(nearest.x0 - target.x0) < 0.02 * target.side
        assert abs(nearest.y0 - target.y0) < 0.02 * target.side


def test_deep_odd_and_short_chains(chain) -> None:
    deep = list(
        camera_path(
            [(0, 0, 12000, 9000), *((6000.3 - s, 4000.7 - s, 6000.3 + s, 4000.7 + s) for s in (256, 64, 16, 4, 1, 0.25, 0.06, 0.015))]
        )
    )
    assert deep[-1].side == pytest.approx(0.03)
    assert 10 < len(deep) / 30 < 20
    assert len(list(camera_path([(0, 0, 512, 512), (100, 100, 289.6, 289.6)]))) / 30 < 4
    assert len(set(camera_path([(0, 0, 512, 512)]))) == 1
    long = list(camera_path([(0, 0, 4.0**k, 4.0**k) for k in range(80, -1, -1)], longest=60))
    assert len(long) / 30 < 62


def changes(frames) -> np.ndarray:
    """Mean absolute difference between consecutive pictures, in grey levels, of a film whose states disagree in brightness."""
    shifted = [replace(f, image=clip(f.image * np.float32(0.8) + np.float32(0.06 * (f.index % 2)))) for f in frames]
    return np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(views_of(shifted))])


@pytest.mark.parametrize("at", POINTS)
def test_film_has_no_cuts(chain, at) -> None:
    change = changes(chain(at, scales=(1, 4, 10.8, 43.2), photo_size=(160, 160)))
    assert change.max() > 2, "nothing moves"
    assert np.abs(np.diff(change)).max() < 0.15 * change.max()


def test_a_cut_would_be_noticed(chain, monkeypatch) -> None:
    monkeypatch.setattr(film, "_opacity", lambda share: float(share > 0.6))
    change = changes(chain(scales=(1, 4, 10.8, 43.2), photo_size=(160, 160)))
    assert np.abs(np.diff(change)).max() > 0.25 * change.max()


def test_first_view_holds_the_whole_photo_and_last_view_is_the_last_state(chain) -> None:
    frames = chain()
    views = list(views_of(frames))
    height = frames[0].image.shape[0]
    top = (64 - height) // 2
    assert (views[0][: top - 1] == 0x11).all()
    assert (views[0][-top + 1 :] == 0x11).all()
    assert psnr(from_uint(views[0][top + 2 : top + height - 2]), resize(frames[0].image, (64, height))[2:-2]) > 25
    assert psnr(from_uint(views[-1]), frames[-1].image) > 45


def test_view_outside_a_child_comes_from_its_parent(chain) -> None:
    frames = chain()
    frames[2] = replace(frames[2], image=np.ones_like(frames[2].image))
    layers = layers_of(frames[:3], 64)
    x0, y0, x1, _ = frames[2].region
    side = x1 - x0
    seen = view(layers, Window(x0 - 0.1 * side, y0 - 0.1 * side, 1.2 * side), 64)
    assert seen[32, 32].min() > 0.99
    assert seen[1, 1].max() < 0.99
    row = seen[32, :, 0]
    assert np.abs(np.diff(row)).max() < 0.25, "the border is a visible edge"


def test_file_is_one_that_browsers_play(chain, tmp_path: Path) -> None:
    frames = chain(scales=(1, 4))
    calls: list[tuple[int, int]] = []
    path = tmp_path / "zoom.mp4"
    render_film(frames, path, title="cat.jpg", progress=lambda done, total: calls.append((done, total)))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (64, 64, 30)
        assert container.metadata["title"] == "cat.jpg, zoomed to 4x"
        assert "synthesised from 4x on" in container.metadata["comment"]
        assert "algorithmicallyEnhanced" in container.metadata["comment"]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert calls[-1] == (len(pictures), len(pictures))
    assert psnr(from_uint(pictures[-1]), frames[-1].image) > 24
    assert abs(pictures[0][:8].astype(int).mean() - 0x11) < 2, "colours shift on the way through YUV"
    assert [p.name for p in tmp_path.iterdir()] == ["zoom.mp4"]


def test_same_frames_give_the_same_bytes(chain, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        render_film(chain(scales=(1, 4)), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_one_state_and_other_sizes(chain, tmp_path: Path) -> None:
    render_film(chain(scales=())[:1], tmp_path / "one.mp4", size=96, fps=10)
    with av.open(str(tmp_path / "one.mp4")) as container:
        assert container.streams.video[0].width == 96
        assert sum(1 for _ in container.decode(video=0)) == 20
        assert "nothing is synthesised" in container.metadata["comment"]
        assert "algorithmicallyEnhanced" not in container.metadata["comment"]


def test_failures_leave_nothing_behind(chain, tmp_path: Path) -> None:
    frames = chain(scales=(1,))
    with pytest.raises(OutputError, match=r"cannot write .*zoom\.mp4"):
        render_film(frames, tmp_path / "missing" / "zoom.mp4")
    with pytest.raises(OptionError, match="even size"):
        render_film(frames, tmp_path / "zoom.mp4", size=65)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_film(frames, tmp_path / "zoom.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_encoder_falls_back_to_what_pyav_has(chain, tmp_path: Path, monkeypatch) -> None:
    assert choose_encoder({"libvpx-vp9", "libx264"}) == "libx264"
    assert choose_encoder({"libvpx-vp9", "mpeg4"}) == "libvpx-vp9"
    with pytest.raises(BackendError, match="libx264"):
        choose_encoder({"mpeg4"})
    if "libvpx-vp9" in av.codecs_available:
        monkeypatch.setattr(film, "choose_encoder", lambda available: "libvpx-vp9")
        render_film(chain(scales=())[:1], tmp_path / "vp9.mp4", fps=10)
        with av.open(str(tmp_path / "vp9.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 20
