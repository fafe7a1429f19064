"""Long work in processes of its own: a zoom to a run folder, or a film. One at a time; progress is a list of events."""

from __future__ import annotations

import multiprocessing
import secrets
import shutil
import signal
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Condition, Thread
from time import time
from types import FrameType
from typing import Any, Literal

from chainzoom.errors import ChainzoomError, OptionError
from chainzoom.jobs import ZoomJob, ZoomRequest
from chainzoom.viewer.film import Place, make_film
from chainzoom.viewer.queue import QueueFullError
from chainzoom.viewer.specs import ViewSpec
from chainzoom.viewer.studio import Studio, StudioOptions

State = Literal["queued", "running", "done", "failed", "cancelled"]
_CONTEXT = multiprocessing.get_context("spawn")
_WAITING, _KEPT = 8, 20
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ZoomWork:
    """A zoom as ``chainzoom zoom`` makes it."""

    request: ZoomRequest

    def run(self, folder: Path, tell: Tell) -> None:
        """Make the states, then the report."""
        job = ZoomJob(self.request)
        total = len(job.plan)
        tell({"done": 0, "total": total, "what": "zooming"})
        for step, _ in job.steps():
            facts = {"state": step.index, "scale": step.scale, "kind": step.kind, "prompt": step.prompt.text}
            tell({"done": step.index + 1, "total": total, "what": "zooming", **facts})
        job.report(lambda done, count: tell({"done": done, "total": count, "what": "filming"}) if done % 15 == 0 or done == count else None)


@dataclass(frozen=True, slots=True)
class FilmWork:
    """A film between two views."""

    spec: ViewSpec
    start: Place
    end: Place
    deepest: float
    options: StudioOptions

    def run(self, folder: Path, tell: Tell) -> None:
        """Paint the keyframes, then the film."""

        def progress(done: int, total: int, what: str) -> None:
            if what != "filming" or done % 15 == 0 or done == total:
                tell({"done": done, "total": total, "what": what})

        folder.mkdir(parents=True, exist_ok=True)
        make_film(Studio(self.options), self.spec, self.start, self.end, folder / "zoom.mp4", self.deepest, progress)


@dataclass(eq=False)
class Job:
    """A piece of work and how far it is; ``events`` only grows."""

    id: str
    kind: str
    folder: Path
    work: ZoomWork | FilmWork
    about: dict[str, Any]
    state: State = "queued"
    events: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    started: float = field(default_factory=time)
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def tell(self, event: dict[str, Any]) -> None:
        """Note progress or a change of state."""
        self.events.append({"state_of_job": self.state, **event})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        last = self.events[-1] if self.events else {}
        facts = {"id": self.id, "kind": self.kind, "state": self.state, "error": self.error or None, "about": self.about}
        return facts | {"done": last.get("done", 0), "total": last.get("total", 0), "what": last.get("what", "waiting")}


def run(connection: Connection, work: ZoomWork | FilmWork, folder: Path) -> None:
    """The job process's main."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    try:
        work.run(folder, connection.send)
        connection.send(None)
    except KeyboardInterrupt:
        return
    except ChainzoomError as error:
        connection.send(str(error))
    except Exception as error:
        connection.send(f"unexpected {type(error).__name__}: {error}")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Jobs:
    """All jobs of a viewer. The last few finished ones are kept, older ones are removed with their files.

    followers  how many clients follow a job now; kept by the event loop alone
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._closing = False
        self.followers = 0
        self._thread = Thread(target=self._run_all, daemon=True, name="jobs")
        self._thread.start()

    def start(self, kind: str, make: Callable[[Path], ZoomWork | FilmWork], about: dict[str, Any]) -> Job:
        """Queue a job; ``make`` gets its folder. Raises QueueFullError."""
        with self._changed:
            if self._closing or len(self._waiting) >= _WAITING:
                raise QueueFullError("too many jobs are waiting; try again when one has ended")
            name = secrets.token_hex(8)
            job = Job(name, kind, self._folder / name, make(self._folder / name), about)
            self._jobs[name] = job
            self._waiting.append(job)
            for old in [one for one in self._jobs.values() if one.over][: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[old.id]
                shutil.rmtree(old.folder, ignore_errors=True)
            self._changed.notify()
            return job

    def all(self) -> list[Job]:
        """The jobs, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def get(self, name: str) -> Job:
        """A job by id. Raises OptionError."""
        with self._changed:
            if name not in self._jobs:
                raise OptionError(f"there is no job {name[:40]!r}")
            return self._jobs[name]

    def cancel(self, name: str) -> Job:
        """Stop a job; what is finished stays, with a valid record."""
        job = self.get(name)
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
        return job

    def close(self) -> None:
        """Stop everything."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        for job in self.all():
            if not job.over:
                self.cancel(job.id)
        self._thread.join(10)

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    return
                job = self._waiting.popleft()
                job.state = "running"
            job.tell({"done": 0, "total": 0, "what": "starting"})
            self._run(job)

    def _run(self, job: Job) -> None:
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=run, args=(theirs, job.work, job.folder), daemon=True)
        process.start()
        theirs.close()
        said: Any = "its process died; try another preset, or --memory low"
        with suppress(EOFError, OSError):
            while not job.cancelled:
                if not ours.poll(0.1):
                    continue
                said = ours.recv()
                if not isinstance(said, dict):
                    break
                job.tell(said)
                said = "its process died; try another preset, or --memory low"
        if job.cancelled:
            process.terminate()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join(5)
        ours.close()
        if job.cancelled:
            self._end(job, "cancelled")
        else:
            job.error = said or ""
            self._end(job, "failed" if said else "done")

    def _end(self, job: Job, state: State) -> None:
        last = job.events[-1] if job.events else {"done": 0, "total": 0}
        # The event first: who follows stops when the state says so, and must have seen it.
        job.tell({"state_of_job": state, "done": last["done"], "total": last["total"], "what": state, "error": job.error or None})
        job.state = state
