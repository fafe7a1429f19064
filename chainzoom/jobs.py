"""A zoom from a photo on disk to a finished run folder: what the command line, a server or a batch worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from chainzoom.chain import Chain
from chainzoom.models import Store
from chainzoom.photos import Photo
from chainzoom.presets import Preset, load_preset
from chainzoom.records import RunFolder, check_folder, source_of
from chainzoom.regions import Planned, check_target
from chainzoom.report.build import build_report
from chainzoom.seeds import check_seed
from chainzoom.step import Step
from chainzoom.version import __version__


@dataclass(frozen=True, slots=True)
class ZoomRequest:
    """Everything that decides a run; None takes the preset's value."""

    photo: Path
    out: Path
    at: tuple[float, float] = (0.5, 0.5)
    to: float = 256.0
    preset: str = "default"
    prompt: str | None = None
    seed: int = 0
    mode: str | None = None
    align: str | None = None
    consistency: float | None = None
    size: int | None = None
    protocol: str | None = None
    depth: Literal[8, 16] = 8
    creativity: float | None = None
    memory: str | None = None
    dtype: str | None = None
    device: str | None = None
    weights_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False

    def command(self) -> str:
        """The command line that repeats this run."""
        parts = ["chainzoom", "zoom", self.photo.name, "--at", f"{self.at[0]:g},{self.at[1]:g}", "--to", f"{self.to:g}"]
        parts += ["--preset", self.preset, "--seed", str(self.seed)]
        for name in ("prompt", "mode", "align", "consistency", "size", "protocol", "creativity", "memory", "dtype", "device"):
            value = getattr(self, name)
            if value is not None:
                parts += [f"--{name}", f'"{value}"' if name == "prompt" else str(value)]
        if self.depth != 8:
            parts += ["--depth", str(self.depth)]
        return " ".join(parts)


class ZoomJob:
    """A checked request, ready to run: the photo is open, the weights are loaded, nothing is written yet.

    Raises the errors of ``Photo.open``, ``load_preset``, ``Preset.build`` and ``RunFolder.open``.
    """

    def __init__(self, request: ZoomRequest) -> None:
        self.request = request
        placing = {key: getattr(request, key) for key in ("creativity", "memory", "dtype", "device")}
        self.preset: Preset = load_preset(request.preset).with_options(**placing)
        settings = {key: getattr(request, key) for key in ("mode", "align", "consistency", "size", "protocol", "prompt")}
        checked = self.preset.check(**settings)
        check_target(request.at, request.to)
        check_seed(request.seed)
        self.photo = Photo.open(request.photo)
        self.plan: tuple[Planned, ...] = checked.plan(self.photo, request.at, request.to)
        check_folder(request.out, {"source": {"sha256": self.photo.sha256}}, resume=request.resume, overwrite=request.overwrite)
        self.chain: Chain = self.preset.build(Store.at(request.weights_dir), **settings)
        for part in (self.chain.backbone, self.chain.prompter):
            if (check := getattr(part, "check", None)) is not None:
                check()
        self._header = self._describe()
        check_folder(request.out, self._header, resume=request.resume, overwrite=request.overwrite)

    def again(self, *, seed: int, out: Path) -> ZoomJob:
        """The same zoom from another seed into another folder; the photo and the weights are shared. Raises as the first one does."""
        check_seed(seed)
        other = copy(self)
        other.request = replace(self.request, seed=seed, out=out)
        other._header = other._describe()
        check_folder(out, other._header, resume=other.request.resume, overwrite=other.request.overwrite)
        return other

    def _describe(self) -> dict[str, Any]:
        settings, request, photo = self.chain.settings, self.request, self.photo
        return {
            "version": __version__,
            "command": request.command(),
            "source": source_of(photo),
            "preset": self.preset.name,
            "parts": self.preset.parts(),
            "mode": settings.mode,
            "protocol": settings.protocol,
            "seed": request.seed,
            "at": list(request.at),
            "to": float(request.to),
            "size": settings.size,
            "step": settings.step,
            "align": settings.align,
            "consistency": float(settings.consistency),
            "user_prompt": settings.user_prompt,
            "depth": request.depth,
            "synthesised_from": min((state.scale for state in self.plan if state.kind == "synthesised"), default=None),
            "generative": self.chain.backbone.facts.generative,
            "runtime": self.chain.backbone.facts.runtime,
        }

    def steps(self) -> Iterator[tuple[Step, bool]]:
        """Make and write the states; yields (step, fresh) where ``fresh`` is False for states that an earlier run had finished.

        Stopping the iterator, an error or Ctrl-C leaves the finished states and a valid record.
        """
        request = self.request
        with RunFolder.open(request.out, self._header, depth=request.depth, resume=request.resume, overwrite=request.overwrite) as folder:
            for step in folder.done:
                yield step, False
            if folder.complete:
                return
            for step in self.chain.run(self.photo, at=request.at, to=request.to, seed=request.seed, done=folder.done):
                folder.add(step)
                yield step, True
            folder.finish()

    def report(self, progress: Callable[[int, int], None] | None = None) -> list[Path]:
        """Draw strip, film and page from the run folder; returns their paths."""
        return build_report(self.request.out, progress)
