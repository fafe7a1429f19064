"""A whole image from a photo on disk to a finished file: what the command line, a server or a batch worker runs.

While it is made, everything lies in ``OUT.chainzoom/``: the journal, the data so far, windows that memory has no room for. At the end
the file is moved to ``OUT`` and a record is written to ``OUT.json``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import filelock

from chainzoom.atomic import output_error, remove_leftovers, write_bytes
from chainzoom.backbones.runtimes import usable_cores
from chainzoom.errors import OptionError, OutputError
from chainzoom.full.bigtiff import BigTiffWriter
from chainzoom.full.deepzoom import DeepZoomWriter, tiles_folder
from chainzoom.full.estimate import Estimate, estimate
from chainzoom.full.exif import read_exif
from chainzoom.full.journal import Journal
from chainzoom.full.png import PngWriter
from chainzoom.full.writers import Target, Writer, disk
from chainzoom.models.store import Store
from chainzoom.photos import Photo
from chainzoom.presets import load_preset
from chainzoom.provenance import Provenance
from chainzoom.regions import MAX_SCALE
from chainzoom.seeds import check_seed
from chainzoom.version import __version__
from chainzoom.windows import Incident, Planes, WindowCache

SCHEMA = "chainzoom.full/1"
WRITERS: dict[str, type[BigTiffWriter] | type[PngWriter] | type[DeepZoomWriter]] = {
    ".tif": BigTiffWriter,
    ".tiff": BigTiffWriter,
    ".png": PngWriter,
    ".dzi": DeepZoomWriter,
}
_MAX_SIDE = 2**31 - 1
_AHEAD = 4
_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class FullRequest:
    """Everything that decides a whole enlargement; None takes the preset's value."""

    photo: Path
    out: Path
    to: float = 4.0
    preset: str = "default"
    prompt: str | None = None
    seed: int = 0
    align: str | None = None
    consistency: float | None = None
    depth: int = 8
    resume: bool = False
    overwrite: bool = False
    creativity: float | None = None
    memory: str | None = None
    dtype: str | None = None
    device: str | None = None
    weights_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Progress: ``done`` of ``total`` tiles are written; ``incidents`` happened since the last one."""

    done: int
    total: int
    incidents: tuple[Incident, ...] = ()


class FullJob:
    """A checked request, ready to run: the photo is open, the weights are loaded, nothing is written yet.

    Raises the errors of ``Photo.open``, ``load_preset`` and ``Preset.build``; OptionError for an ending that is none of .tif, .png, .dzi
    or a picture too large for it; OutputError for a place that cannot be written to or holds something else.
    """

    def __init__(self, request: FullRequest) -> None:
        self.request = request
        check_seed(request.seed)
        placing = {key: getattr(request, key) for key in ("creativity", "memory", "dtype", "device")}
        preset = load_preset(request.preset).with_options(**placing)
        settings = {key: getattr(request, key) for key in ("align", "consistency", "prompt")}
        preset.check(**settings)
        if not 1 <= request.to <= MAX_SCALE:
            raise OptionError(f"--to takes a scale from 1 to {MAX_SCALE:.0f}, e.g. 4; got {request.to:g}")
        kind = WRITERS.get(request.out.suffix.lower())
        if kind is None:
            raise OptionError(f"--out {request.out}: expected a name that ends in .tif, .png or .dzi; got '{request.out.suffix}'")
        if kind is DeepZoomWriter and request.depth != 8:
            raise OptionError("a Deep Zoom folder holds 8 bits per channel; use --depth 8, or .tif or .png for 16")
        self._kind = kind
        self.work = request.out.with_name(f"{request.out.name}.chainzoom")
        self.photo = Photo.open(request.photo)
        self._check_place()
        chain = preset.build(Store.at(request.weights_dir), **settings)
        self._spill = WindowCache(_MEMORY)
        self.planes = Planes(self.photo, chain, seed=request.seed, cache=self._spill)
        self.level = self.planes.level_for(request.to)
        width, height = self.planes.size_at(request.to)
        if max(width, height) > _MAX_SIDE:
            raise OptionError(f"--to {request.to:g} makes {width} x {height} pixels; a file holds at most {_MAX_SIDE} a side")
        facts = chain.backbone.facts
        provenance = Provenance(
            source_sha256=self.photo.sha256,
            scale=request.to,
            synthesised=request.to > 1,
            weights=facts.weights if request.to > 1 else (),
            region=(0.0, 0.0, float(self.photo.width), float(self.photo.height)),
            prompt=chain.settings.user_prompt,
            seed=request.seed if facts.stochastic else None,
            synthesised_from=float(self.planes.scale) if request.to > 1 else None,
            generative=facts.generative,
        )
        self.target = Target(width, height, request.depth, self.photo.has_alpha, provenance, read_exif(request.photo))
        self.header: dict[str, Any] = {
            "schema": SCHEMA,
            "version": __version__,
            "source": {"path": str(request.photo), "sha256": self.photo.sha256, "width": self.photo.width, "height": self.photo.height},
            "source_notes": list(self.photo.notes),
            "preset": preset.name,
            "parts": preset.parts(),
            "settings": asdict(chain.settings),
            "weights": [asdict(weights) for weights in facts.weights],
            "seed": request.seed,
            "to": request.to,
            "width": width,
            "height": height,
            "depth": request.depth,
            "alpha": self.photo.has_alpha,
            "tiling": asdict(self.planes.tiling),
            "generative": facts.generative,
        }

    def tiles_left(self) -> int:
        """Tiles that an earlier, interrupted run has not finished."""
        total = self.target.grid[0] * self.target.grid[1]
        path = self.work / "journal.jsonl"
        if not self.request.resume or not path.exists():
            return total
        return total - sum(b'"tile"' in line for line in path.read_bytes().splitlines())

    def estimate(self) -> Estimate:
        """Time, disk and machine hours; makes two windows, which the run then finds in memory."""
        return estimate(self.planes, self.level, self.target, max(0, self.tiles_left()), usable_cores())

    def free_bytes(self) -> int:
        """Room on the disk that the file goes to."""
        return shutil.disk_usage(_existing(self.request.out)).free

    def run(self) -> Iterator[Tick]:
        """Make and write the tiles. Stopping the iterator, an error or Ctrl-C keeps what is finished for ``resume``."""
        start = perf_counter()
        if self.request.overwrite:
            shutil.rmtree(self.work, ignore_errors=True)
        with disk(self.work):
            self.work.mkdir(exist_ok=True)
        lock = filelock.FileLock(self.work / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise OutputError(f"another run is writing to {self.request.out}; wait for it or choose another --out") from None
        except OSError as error:
            raise output_error(self.work, error) from error
        try:
            remove_leftovers(self.work)
            self._spill.spill_to(self.work / "windows")
            journal = Journal(self.work / "journal.jsonl", self._identity())
            writer: Writer = self._kind(self.work, self.target, journal)
            incidents = [entry["incident"] for entry in journal.entries if "incident" in entry]
            before = sum(entry["seconds"] for entry in journal.entries if "seconds" in entry)
            try:
                yield from self._tiles(writer, journal, incidents)
                # First the record: a file without one would not say that it was synthesised; a record without a file misleads nobody.
                self._record(incidents, before + perf_counter() - start)
                writer.finish(self.request.out)
            finally:
                with suppress(OutputError):
                    journal.append({"seconds": round(perf_counter() - start, 3)})
                    writer.close()
        finally:
            lock.release()
        shutil.rmtree(self.work, ignore_errors=True)

    def _tiles(self, writer: Writer, journal: Journal, incidents: list[dict[str, Any]]) -> Iterator[Tick]:
        target = self.target
        columns, rows = target.grid
        yield Tick(len(writer.done), columns * rows)
        for row in range(rows):
            todo = [number for number in range(row * columns, (row + 1) * columns) if number not in writer.done]
            if todo:
                self._forget_above(target.box(todo[0]))
            for place, number in enumerate(todo):
                if place % _AHEAD == 0:
                    self._prepare([target.box(other) for other in todo[place : place + _AHEAD]])
                box = target.box(number)
                image = self.planes.read_at(self.request.to, box)
                writer.write(number, image, self._alpha(box, (image.shape[1], image.shape[0])))
                fresh = tuple(self.planes.renderer.incidents)
                self.planes.renderer.incidents.clear()
                for incident in fresh:
                    incidents.append({"kind": incident.kind, "window": list(incident.index), "text": incident.text})
                    journal.append({"incident": incidents[-1]})
                yield Tick(len(writer.done), columns * rows, fresh)

    def _alpha(self, box: tuple[int, int, int, int], size: tuple[int, int]) -> Any:
        width, height = float(self.photo.width), float(self.photo.height)
        x0, y0, x1, y1 = (side / self.request.to for side in box)
        return self.photo.read_alpha((x0, y0, min(x1, width), min(y1, height)), size)

    def _prepare(self, boxes: list[tuple[int, int, int, int]]) -> None:
        """Make the windows of neighbouring tiles together, so that prompter and backbone get batches."""
        whole = (boxes[0][0], boxes[0][1], boxes[-1][2], boxes[-1][3])
        self.planes.prepare(self.request.to, whole)

    def _forget_above(self, box: tuple[int, int, int, int]) -> None:
        """Windows that no tile from here on downwards needs."""
        for level, indices in self.planes.windows_at(self.request.to, box).items():
            self._spill.forget_above(level, min(index.row for index in indices))

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on: all but the photo's path and our version."""
        return {key: value for key, value in self.header.items() if key != "version"} | {
            "source": {**self.header["source"], "path": ""},
            "planes": self.planes.identity(self.header["parts"]),
        }

    def _record(self, incidents: list[dict[str, Any]], seconds: float) -> None:
        words = self.planes.words if self.planes.chain.backbone.facts.uses_prompt else None
        record = {
            **self.header,
            "status": "complete",
            "windows": {str(level): count for level, count in self.planes.count(self.level).items()},
            "windows_made": {str(level): count for level, count in sorted(self.planes.made.items())},
            "prompts_asked": words.asked if words else 0,
            "prompts_inherited": words.inherited if words else 0,
            "incidents": incidents,
            "seconds": round(seconds, 2),
        }
        text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
        write_bytes(record_path(self.request.out), (text + "\n").encode())

    def _check_place(self) -> None:
        out, request = self.request.out, self.request
        nearest = _existing(out)
        if nearest != out.absolute().parent and nearest != out.absolute():
            raise OutputError(f"--out {out}: its folder does not exist; create it first")
        if out.is_dir():
            raise OutputError(f"--out {out} is a folder; give the name of a file that ends in .tif, .png or .dzi")
        if request.overwrite:
            return
        taken = [path for path in (out, tiles_folder(out) if self._kind is DeepZoomWriter else out) if path.exists()]
        if taken:
            raise OutputError(f"{taken[0]} exists already; use --overwrite to replace it or choose another --out")
        if self.work.exists() and not request.resume:
            raise OutputError(f"{self.work} holds an unfinished run; use --resume to continue it or --overwrite to start again")


def record_path(out: Path) -> Path:
    """Where the record of a whole image lies."""
    return out.with_name(f"{out.name}.json")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
