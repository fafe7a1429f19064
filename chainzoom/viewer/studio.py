"""Inside a worker process: planes of the views in use, and the three things that are asked of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from chainzoom.backbones.base import BatchBackbone
from chainzoom.chain import Chain
from chainzoom.images import Image
from chainzoom.models import Store
from chainzoom.photos import Photo
from chainzoom.pictures import encode_png
from chainzoom.presets import load_preset
from chainzoom.version import __version__
from chainzoom.viewer.cache import trim_folders
from chainzoom.viewer.pixels import encode
from chainzoom.viewer.queue import DroppedError
from chainzoom.viewer.specs import Made, Opened, OpenTask, Said, TileTask, ViewSpec, WordsTask
from chainzoom.windows import Index, Planes, WindowCache
from chainzoom.windows.render import WindowRenderer, WindowWork

_T = TypeVar("_T")
_PHOTOS, _VIEWS, _CHAINS = 3, 6, 2
_MEMORY = 4 << 20  # windows go to disk at once, so that a restart or a crash costs no more than these few


@dataclass(frozen=True, slots=True)
class StudioOptions:
    """Where windows are kept and how many bytes; ``build`` makes a chain of a view's preset (a module's function: it is pickled)."""

    folder: Path
    limit: int
    build: Callable[[ViewSpec], Chain] | None = None


class TimedRenderer(WindowRenderer):
    """A renderer that counts the seconds spent in the backbone."""

    seconds = 0.0

    def render(self, works: Sequence[WindowWork], field_seed: int = 0) -> list[Image]:
        """See WindowRenderer."""
        start = perf_counter()
        try:
            return super().render(works, field_seed)
        finally:
            self.seconds += perf_counter() - start


class Studio:
    """Answers tasks, one at a time. ``interrupted`` is asked between windows; True ends the task with DroppedError."""

    def __init__(self, options: StudioOptions, interrupted: Callable[[], bool] = lambda: False) -> None:
        self._options, self._interrupted = options, interrupted
        self._photos: OrderedDict[str, Photo] = OrderedDict()
        self._chains: OrderedDict[str, Chain] = OrderedDict()
        self._views: OrderedDict[str, tuple[Planes, dict[str, Any]]] = OrderedDict()
        self._folders: dict[str, Path] = {}

    def answer(self, task: Any) -> Opened | Made | Said:
        """The result of a task. Raises whatever chainzoom raises, and DroppedError."""
        if isinstance(task, OpenTask):
            return self._open(task.spec)
        if isinstance(task, WordsTask):
            return self._words(task)
        assert isinstance(task, TileTask)
        return self._tile(task)

    def planes(self, spec: ViewSpec) -> Planes:
        """The planes of a view; those of the last few are kept."""
        return self._view(spec)[0]

    def prepare(self, planes: Planes, scale: float, box: tuple[int, int, int, int]) -> None:
        """Make the windows of a region a few at a time, from the coarsest level up, as long as somebody waits."""
        together = planes.batch if isinstance(planes.chain.backbone, BatchBackbone) else 1
        for _, needed in sorted(planes.windows_at(scale, box).items()):
            missing = [index for index in sorted(needed) if index not in planes.cache]
            for start in range(0, len(missing), together):
                if self._interrupted():
                    raise DroppedError("nobody waits for it any more")
                planes.ensure(missing[start : start + together])

    def _tile(self, task: TileTask) -> Made:
        start = perf_counter()
        planes = self.planes(task.spec)
        renderer = planes.renderer
        assert isinstance(renderer, TimedRenderer)
        spent, made = renderer.seconds, sum(planes.made.values())
        image = self._read(planes, task.scale, task.box)
        x0, y0, x1, y1 = (side / task.scale for side in task.box)
        region = (x0, y0, min(x1, float(planes.source.width)), min(y1, float(planes.source.height)))
        alpha = planes.source.read_alpha(region, (image.shape[1], image.shape[0]))
        data = encode(image, alpha) if task.provenance is None else encode_png(image, alpha=alpha, provenance=task.provenance)
        return Made(data, perf_counter() - start, renderer.seconds - spent, sum(planes.made.values()) - made)

    def _read(self, planes: Planes, scale: float, box: tuple[int, int, int, int]) -> Image:
        """Pixels of a box. Levels between those of the planes are means of whole blocks, which need nothing around the box: a wider
        kernel would reach into windows next door, and a window costs seconds.
        """
        zoom = planes.scale ** planes.level_for(scale) / scale
        shrink = round(zoom)
        if shrink == 1 or shrink != zoom:
            self.prepare(planes, scale, box)
            return planes.read_at(scale, box)
        x0, y0, x1, y1 = (side * shrink for side in box)
        fine = (x0, y0, x1, y1)
        self.prepare(planes, scale * shrink, fine)
        blocks = planes.read_at(scale * shrink, fine).reshape(box[3] - box[1], shrink, box[2] - box[0], shrink, 3)
        return np.asarray(blocks.mean((1, 3)), dtype=np.float32)

    def _words(self, task: WordsTask) -> Said:
        planes = self.planes(task.spec)
        level, zoom = planes.level(task.level), planes.scale**task.level
        x, y = (min(int(at * zoom), side - 1) for at, side in ((task.x, level.width), (task.y, level.height)))
        if task.level > 1:
            self.prepare(planes, planes.scale ** (task.level - 1), _around(x // planes.scale, y // planes.scale))
        index = Index(task.level, level.rows.owner(y), level.columns.owner(x))
        (prompt,) = planes.describe([index])
        return Said(prompt.text, prompt.source, prompt.tags, prompt.notes)

    def _open(self, spec: ViewSpec) -> Opened:
        planes, parts = self._view(spec)
        prompter = planes.chain.prompter
        return Opened(
            planes.identity(parts),
            spec.preset,
            asdict(planes.chain.backbone.facts),
            prompter.name if prompter else None,
            asdict(planes.chain.settings),
            asdict(planes.tiling),
            parts,
        )

    def _view(self, spec: ViewSpec) -> tuple[Planes, dict[str, Any]]:
        # Another view, or another process, may have needed the room on disk.
        if spec.id not in self._views or not self._folders[spec.id].is_dir():
            chain, parts = self._chain(spec)
            facts = chain.backbone.facts
            # What cannot change a pixel must not make another picture: tiles are shared.
            settings = replace(chain.settings, user_prompt=spec.prompt if facts.uses_prompt else "")
            seed = spec.seed if facts.uses_prompt or facts.stochastic else 0
            if spec.consistency is not None:
                settings = replace(settings, consistency=spec.consistency)
            own = Chain(chain.backbone, chain.prompter, **asdict(settings))
            planes = Planes(self._photo(spec), own, seed=seed)
            planes.renderer = TimedRenderer(own.backbone, settings.align)
            folder = self._options.folder / planes.identity(parts)[:32]
            folder.mkdir(parents=True, exist_ok=True)
            folder.touch()
            trim_folders(self._options.folder, self._options.limit // 2, folder)
            planes.cache = WindowCache(_MEMORY, folder, self._options.limit // 2)
            self._folders[spec.id] = folder
            self._views[spec.id] = planes, parts
        return _recent(self._views, spec.id, _VIEWS)

    def _chain(self, spec: ViewSpec) -> tuple[Chain, dict[str, Any]]:
        if self._options.build is not None:
            if spec.preset not in self._chains:
                self._chains[spec.preset] = self._options.build(spec)
            return _recent(self._chains, spec.preset, _CHAINS), {"version": __version__}
        preset = load_preset(spec.preset)
        if spec.preset not in self._chains:
            self._chains[spec.preset] = preset.build(Store.at(spec.weights_dir))
        return _recent(self._chains, spec.preset, _CHAINS), preset.parts() | {"version": __version__}

    def _photo(self, spec: ViewSpec) -> Photo:
        if spec.sha256 not in self._photos:
            self._photos[spec.sha256] = Photo.open(spec.path)
        return _recent(self._photos, spec.sha256, _PHOTOS)


def _recent(kept: OrderedDict[str, _T], key: str, limit: int) -> _T:
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
    return kept[key]


def _around(x: int, y: int) -> tuple[int, int, int, int]:
    return x, y, x + 1, y + 1
