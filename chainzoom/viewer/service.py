"""The viewer without HTTP: photos, views, tiles and jobs, joined together."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from chainzoom.chain import Chain
from chainzoom.errors import OptionError
from chainzoom.jobs import ZoomRequest
from chainzoom.models import Store
from chainzoom.presets import builtin_names, load_preset
from chainzoom.provenance import Provenance
from chainzoom.seeds import check_seed
from chainzoom.version import __version__
from chainzoom.viewer.cache import TileCache
from chainzoom.viewer.film import Place
from chainzoom.viewer.jobs import FilmWork, Job, Jobs, ZoomWork
from chainzoom.viewer.library import Library, UploadLimits
from chainzoom.viewer.pixels import RealPixels
from chainzoom.viewer.pyramid import Pyramid, TileBox
from chainzoom.viewer.queue import TaskQueue, Ticket
from chainzoom.viewer.specs import Made, Opened, OpenTask, TileTask, ViewSpec, WordsTask
from chainzoom.viewer.studio import StudioOptions
from chainzoom.viewer.workers import Pool
from chainzoom.weights import Weights

_VIEWS = 500
_LARGEST = 4096
_FIRST, _LAST = -1.0, 1e9


def default_cache() -> Path:
    """``chainzoom/viewer`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    cached = os.environ.get("XDG_CACHE_HOME")
    return (Path(cached) if cached else Path.home() / ".cache") / "chainzoom" / "viewer"


@dataclass(frozen=True, slots=True)
class ViewerOptions:
    """What a viewer is started with.

    root         a photo, a folder of photos, or None (uploads alone)
    cache        folder of tiles, windows, uploads and jobs
    cache_bytes  half of it for tiles, half for windows
    build        for tests: makes chains in place of presets
    """

    root: Path | None
    cache: Path = field(default_factory=default_cache)
    cache_bytes: int = 4 << 30
    preset: str = "default"
    weights_dir: Path | None = None
    workers: int = 1
    limits: UploadLimits = field(default_factory=UploadLimits)
    build: Callable[[ViewSpec], Chain] | None = None


@dataclass(eq=False)
class View:
    """A photo under a preset, words, seed and consistency; ``opening`` ends when a worker has built it."""

    spec: ViewSpec
    photo: str
    pyramid: Pyramid
    opening: Future[Opened] | None = None
    ticket: Ticket | None = None


class Viewer:
    """Everything the HTTP routes call. ``start`` begins the workers; ``close`` ends them."""

    def __init__(self, options: ViewerOptions) -> None:
        self.options = options
        load_preset(options.preset)
        self.library = Library(options.root, options.cache / "uploads", options.limits)
        self.tiles = TileCache(options.cache / "tiles", options.cache_bytes // 2)
        self.queue = TaskQueue()
        self.studio = StudioOptions(options.cache / "windows", options.cache_bytes // 2, options.build)
        self.pool = Pool(self.queue, self.studio, options.workers)
        self.jobs = Jobs(options.cache / "jobs")
        self.times: deque[tuple[float, float, int]] = deque(maxlen=2000)
        self._views: OrderedDict[str, View] = OrderedDict()
        self._lock = Lock()

    def start(self) -> None:
        """Begin to work."""
        self.pool.start()

    def close(self) -> None:
        """End every process and thread."""
        self.jobs.close()
        self.pool.stop()

    def presets(self) -> list[dict[str, Any]]:
        """What can be chosen; ``missing`` is the line that installs what a preset lacks."""
        names = list(dict.fromkeys([self.options.preset, *builtin_names()]))
        store = Store.at(self.options.weights_dir)
        found = [(name, load_preset(name)) for name in names]
        return [
            {"name": name, "description": preset.description, "terms": preset.terms(), "missing": preset.missing(store)}
            for name, preset in found
            if preset.chain.get("protocol", "native") == "native"
        ]

    def open_view(self, photo: str, preset: str | None, prompt: str, seed: int, consistency: float | None, peer: str = "") -> View:
        """The view of these choices; a worker begins to build it. Raises OptionError, ImageError, PresetError, QueueFullError."""
        pixels = self.library.pixels(photo)
        name = preset or self.options.preset
        if name != self.options.preset and name not in builtin_names():
            raise OptionError(f"unknown preset '{name[:60]}'; known are {', '.join(builtin_names())}")
        check_seed(seed)
        words = " ".join(prompt.split())
        load_preset(name).check(consistency=consistency)
        spec = ViewSpec(pixels.photo.path, pixels.photo.sha256, name, words, seed, consistency, self.options.weights_dir)
        with self._lock:
            view = self._views.get(spec.id)
            if view is None or _failed(view):
                view = View(spec, photo, Pyramid(pixels.photo.width, pixels.photo.height))
                view.ticket = self.queue.ask(("open", spec.id), OpenTask(spec), _FIRST, peer)
                view.opening = view.ticket.future
                view.opening.add_done_callback(lambda _: view.ticket.release() if view.ticket else None)
                self._views[spec.id] = view
            self._views.move_to_end(spec.id)
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        return view

    def view(self, name: str) -> View:
        """A view by id. Raises OptionError for one that was not opened (since the start)."""
        with self._lock:
            if name not in self._views:
                raise OptionError(f"there is no view {name[:40]!r}; open it first")
            return self._views[name]

    def pixels(self, view: View) -> RealPixels:
        """The photo of a view."""
        return self.library.pixels(view.photo)

    def thumbnail(self, photo: str, side: int) -> bytes:
        """The whole photo within ``side`` x ``side``, kept with the tiles. Raises as Library.pixels."""
        entry = self.library.entry(photo)
        stat = entry.path.stat()
        name = f"thumbnails/{photo}_{stat.st_mtime_ns}_{stat.st_size}_{side}"
        data = self.tiles.get(name)
        if data is None:
            data = self.library.pixels(photo).thumbnail(side)
            self.tiles.put(name, data)
        return data

    def cached(self, opened: Opened, level: int, column: int, row: int) -> bytes | None:
        """A tile that was made before."""
        return self.tiles.get(_tile_name(opened, level, column, row))

    def ask_tile(self, view: View, opened: Opened, level: int, column: int, row: int, order: float, peer: str) -> Ticket:
        """Queue a synthetic tile. Raises OptionError for one that does not exist, QueueFullError."""
        tile = view.pyramid.tile(level, column, row)
        ticket = self.queue.ask(("tile", view.spec.id, level, column, row), TileTask(view.spec, tile.scale, tile.box), max(0, order), peer)
        name = _tile_name(opened, level, column, row)
        ticket.future.add_done_callback(lambda future: self._keep(name, future))
        return ticket

    def _keep(self, name: str, future: Future[Made]) -> None:
        if future.exception() is None and name:
            made = future.result()
            self.tiles.put(name, made.data)
            self.times.append((made.seconds, made.backbone, made.windows))

    def ask_words(self, view: View, level: int, x: float, y: float, peer: str) -> Ticket:
        """Queue the question what is said of a place. Raises QueueFullError."""
        return self.queue.ask(("words", view.spec.id, level, round(x, 3), round(y, 3)), WordsTask(view.spec, level, x, y), _LAST, peer)

    def ask_picture(self, view: View, opened: Opened, scale: float, box: TileBox, peer: str) -> Ticket:
        """Queue a picture of a region with its provenance inside. Raises OptionError, QueueFullError."""
        width, height = box.size
        if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
            raise OptionError(f"a picture may be {_LARGEST} pixels a side at most; got {width} x {height}")
        return self.queue.ask(
            ("picture", view.spec.id, scale, box.box), TileTask(view.spec, scale, box.box, _provenance(view, opened, scale, box)), 0, peer
        )

    def record(self, view: View, opened: Opened) -> dict[str, Any]:
        """What decides the pixels of a view, for a person or a program."""
        photo = self.pixels(view).photo
        return {
            "schema": "chainzoom.view/1",
            "version": __version__,
            "source": {
                "name": self.library.entry(view.photo).name,
                "sha256": photo.sha256,
                "width": photo.width,
                "height": photo.height,
                "bits": photo.bits,
                "icc_profile": photo.icc_profile_name,
                "notes": list(photo.notes),
            },
            "real_up_to": 1,
            "synthesised_from": opened.facts["scale"],
            "user_prompt": view.spec.prompt,
            "seed": view.spec.seed,
            **opened.as_dict(),
        }

    def zoom(self, photo: str, choices: Mapping[str, Any]) -> Job:
        """Start a zoom job; ``choices`` are fields of ZoomRequest. Raises OptionError, QueueFullError."""
        path = self.library.entry(photo).path
        preset = choices.get("preset") or self.options.preset
        if preset != self.options.preset and preset not in builtin_names():
            raise OptionError(f"unknown preset '{preset[:60]}'; known are {', '.join(builtin_names())}")
        given = {key: value for key, value in choices.items() if value is not None} | {"preset": preset}

        def make(folder: Path) -> ZoomWork:
            return ZoomWork(ZoomRequest(path, folder, weights_dir=self.options.weights_dir, **given))

        return self.jobs.start("zoom", make, {"photo": photo, **given})

    def film(self, view: View, start: Place, end: Place) -> Job:
        """Start a film job. Raises QueueFullError."""
        work = FilmWork(view.spec, start, end, view.pyramid.top, self.studio)
        return self.jobs.start("film", lambda _: work, {"photo": view.photo, "view": view.spec.id})

    def status(self) -> dict[str, Any]:
        """How it goes."""
        times = list(self.times)
        return {
            "version": __version__,
            "waiting": len(self.queue),
            "refused": self.queue.refused,
            "dropped": self.queue.dropped,
            "workers": len(self.pool.processes),
            "replaced": self.pool.replaced,
            "tiles": {
                "made": len(times),
                "seconds": sum(one[0] for one in times),
                "backbone_seconds": sum(one[1] for one in times),
                "windows": sum(one[2] for one in times),
                "cache_bytes": self.tiles.used,
                "hits": self.tiles.hits,
            },
        }


def _failed(view: View) -> bool:
    return view.opening is not None and view.opening.done() and view.opening.exception() is not None


def _tile_name(opened: Opened, level: int, column: int, row: int) -> str:
    return f"{opened.identity}/{level}_{column}_{row}"


def _provenance(view: View, opened: Opened, scale: float, tile: TileBox) -> Provenance:
    facts, made = opened.facts, scale > 1
    x0, y0, x1, y1 = (side / scale for side in tile.box)
    return Provenance(
        source_sha256=view.spec.sha256,
        scale=scale,
        synthesised=made,
        weights=tuple(Weights(**weights) for weights in facts["weights"]) if made else (),
        region=(x0, y0, x1, y1),
        prompt=view.spec.prompt,
        seed=view.spec.seed if facts["stochastic"] else None,
        synthesised_from=float(facts["scale"]) if made else None,
        generative=facts["generative"],
    )
