"""One continuous zoom through all states, as a video that browsers play.

Each frame paints the states from coarse to fine. A finer state fades in while it is small on the screen, and its border melts into the
state below; the melting border narrows to nothing as it reaches the screen's edge, so no cut and no box is ever seen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.atomic import atomic_path, output_error
from chainzoom.errors import BackendError, OptionError
from chainzoom.images import Image, resize, to_uint8
from chainzoom.report.camera import Window, camera_path
from chainzoom.report.frames import Box, Frame, check_frames, origin_text, scale_text

BACKGROUND = np.float32(0x11 / 255)
_FADE = (0.22, 0.75)  # share of the screen's side at which a finer state starts to show and is fully there
_FEATHER = 0.22  # widest melting border, as a share of the state's side
_WORKERS = 2
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "17", "preset": "veryfast", "threads": "2"},
    "libopenh264": {"b": "6000000"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "threads": "1"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A state ready to be painted: ``padded`` is its picture with ``pad`` repeated pixels all around."""

    padded: Image
    pad: int
    region: Box


def layers_of(frames: Sequence[Frame], size: int) -> list[Layer]:
    """Pad every state so that a screen pixel astride its border still has something to sample."""
    layers = []
    for frame in frames:
        longest = max(frame.image.shape[:2])
        pad = math.ceil(2 * longest / (size * _FADE[0])) + 2
        layers.append(Layer(np.pad(frame.image, ((pad, pad), (pad, pad), (0, 0)), mode="edge"), pad, frame.region))
    return layers


def view(layers: Sequence[Layer], window: Window, size: int) -> Image:
    """What the camera sees: (size, size, 3) float32; outside the photo is neutral dark."""
    canvas = np.full((size, size, 3), BACKGROUND, dtype=np.float32)
    bounds = layers[0].region
    opacities = [1.0] + [_opacity(max(a[2] - a[0], a[3] - a[1]) / window.side) for a in (layer.region for layer in layers[1:])]
    first: int = max(k for k, layer in enumerate(layers) if k == 0 or (opacities[k] >= 1 and _covers(layer.region, window)))
    for layer, opacity in list(zip(layers, opacities, strict=True))[first:]:
        if opacity > 0:
            _paint(canvas, layer, opacity, window, bounds)
    return canvas


def _opacity(share: float) -> float:
    return _smooth((math.log(share) - math.log(_FADE[0])) / (math.log(_FADE[1]) - math.log(_FADE[0])))


def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _covers(region: Box, window: Window) -> bool:
    x0, y0, x1, y1 = region
    return x0 <= window.x0 and y0 <= window.y0 and x1 >= window.x0 + window.side and y1 >= window.y0 + window.side


def _paint(canvas: Image, layer: Layer, opacity: float, window: Window, bounds: Box) -> None:
    """Blend a state over the canvas, in place."""
    size = canvas.shape[0]
    height, width = layer.padded.shape[0] - 2 * layer.pad, layer.padded.shape[1] - 2 * layer.pad
    x0, y0, x1, y1 = layer.region
    columns, across, left, right = _side(x0, x1, width, layer.pad, window.x0, window.side, size, bounds[0], bounds[2])
    rows, down, top, bottom = _side(y0, y1, height, layer.pad, window.y0, window.side, size, bounds[1], bounds[3])
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return
    seen = resize(layer.padded, (columns.stop - columns.start, rows.stop - rows.start), "bicubic", (left, top, right, bottom))
    weight = (np.float32(opacity) * down[:, None] * across[None, :])[..., None]
    part = canvas[rows, columns]
    part += weight * (seen - part)


def _side(
    start: float, end: float, pixels: int, pad: int, origin: float, span: float, size: int, first: float, last: float
) -> tuple[slice, NDArray[np.float32], float, float]:
    """Along one axis: the screen pixels a state touches, its weight at each, and the stretch of padded state pixels they show."""
    per = size / span
    a, b = (start - origin) * per, (end - origin) * per
    low, high = max(math.floor(a - 0.5), 0), min(math.ceil(b + 0.5), size)
    widest = _FEATHER * (b - a)
    # No melting towards the photo's own border: nothing lies beyond it.
    soft_a = 0.0 if start <= first + 1e-6 * span else min(max(0.8 * a, 0.0), widest)
    soft_b = 0.0 if end >= last - 1e-6 * span else min(max(0.8 * (size - b), 0.0), widest)
    at = np.arange(low, high) + 0.5
    rise, fall = np.clip((at - a + 0.5) / (soft_a + 1), 0, 1), np.clip((b - at + 0.5) / (soft_b + 1), 0, 1)
    weight = rise * rise * (3 - 2 * rise) * fall * fall * (3 - 2 * fall)
    scale = pixels / (b - a)
    limit = float(pixels + 2 * pad)
    return slice(low, high), weight.astype(np.float32), max((low - a) * scale + pad, 0.0), min((high - a) * scale + pad, limit)


def film_views(frames: Sequence[Frame], windows: Sequence[Window], size: int) -> Iterator[NDArray[np.uint8]]:
    """The film's pictures in order, one for each camera window, (size, size, 3) uint8, made a few at a time."""
    layers = layers_of(frames, size)
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[NDArray[np.uint8]]] = deque()
        last: tuple[Window, Future[NDArray[np.uint8]]] | None = None
        try:
            for window in windows:
                if last is None or last[0] != window:
                    last = window, pool.submit(_picture, layers, window, size)
                waiting.append(last[1])
                if len(waiting) > 2 * _WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _picture(layers: Sequence[Layer], window: Window, size: int) -> NDArray[np.uint8]:
    return to_uint8(view(layers, window, size))


def film_size(frames: Sequence[Frame]) -> int:
    """Side of the video in pixels: the largest state's, even, between 64 and 2048."""
    longest: int = max(max(frame.image.shape[:2]) for frame in frames)
    return min(max(longest + longest % 2, 64), 2048)


def render_film(
    frames: Sequence[Frame],
    path: Path,
    *,
    fps: int = 30,
    size: int | None = None,
    title: str = "chainzoom",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the zoom through all states to ``path`` as MP4 (H.264, 4:2:0, index first); the file appears whole or not at all.

    ``size`` is the side of the square video in pixels (even; default: the largest state's). ``progress(done, total)`` is called after each
    picture. The same frames give the same bytes. Raises OptionError for a size that cannot be encoded, OutputError when the file cannot be
    written and BackendError when PyAV has no encoder that browsers can play.
    """
    check_frames(frames)
    side = film_size(frames) if size is None else size
    if side < 16 or side % 2 or fps < 1:
        raise OptionError(f"a film needs an even size of at least 16 and a positive fps, got size {side} and fps {fps}")
    windows = list(camera_path([frame.region for frame in frames], fps=fps))
    with atomic_path(path) as part:
        try:
            _encode(_counted(film_views(frames, windows, side), len(windows), progress), part, side, fps, _metadata(frames, title))
        except OSError as error:
            raise output_error(path, error) from error


def _metadata(frames: Sequence[Frame], title: str) -> dict[str, str]:
    origin = origin_text(frames)
    if any(frame.synthesised for frame in frames):
        origin += " Digital source type: http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
    return {"title": f"{title}, zoomed to {scale_text(frames[-1].scale)}", "comment": origin}


def choose_encoder(available: set[str]) -> str:
    """The first encoder of our list that PyAV was built with."""
    for name in _ENCODERS:
        if name in available:
            return name
    raise BackendError(
        f"PyAV has none of the encoders {', '.join(_ENCODERS)}; install the wheel from PyPI: pip install --force-reinstall av"
    )


def _counted(pictures: Iterator[NDArray[np.uint8]], total: int, progress: Callable[[int, int], None] | None) -> Iterator[NDArray[np.uint8]]:
    """The same pictures; ``progress(done, total)`` is told when each has been used."""
    for done, picture in enumerate(pictures, 1):
        yield picture
        if progress is not None:
            progress(done, total)


def _encode(pictures: Iterator[NDArray[np.uint8]], path: Path, size: int, fps: int, metadata: dict[str, str]) -> None:
    import av
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    encoder = choose_encoder(set(av.codecs_available))
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata.update(metadata)
        stream: Any = container.add_stream(encoder, rate=fps, options={**_ENCODERS[encoder], "g": str(fps)})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        context = stream.codec_context
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
