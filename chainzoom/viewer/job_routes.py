"""Jobs over HTTP: start, follow by server-sent events, fetch, cancel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import FileResponse, StreamingResponse

from chainzoom.errors import OptionError
from chainzoom.viewer.film import Place
from chainzoom.viewer.jobs import Job, Jobs
from chainzoom.viewer.models import FilmBody, PlaceBody, ZoomBody
from chainzoom.viewer.queue import QueueFullError
from chainzoom.viewer.routes import Id, desk_of, viewer_of

router = APIRouter(prefix="/api/jobs", tags=["jobs"])
_TICK, _ALIVE = 0.1, 15.0
_FOLLOWERS = 64
_FILES = {"run.json": "application/json", "zoom.mp4": "video/mp4", "strip.png": "image/png"}


@router.post("/zoom", status_code=201)
async def start_zoom(request: Request, body: ZoomBody) -> dict[str, Any]:
    """Start a zoom as ``chainzoom zoom`` makes it: states, record, strip and film."""
    choices = body.model_dump()
    photo = choices.pop("photo")
    job = await desk_of(request).do(viewer_of(request).zoom, photo, choices)
    return job.as_dict()


@router.post("/film", status_code=201)
async def start_film(request: Request, body: FilmBody) -> dict[str, Any]:
    """Start a film from one view to a deeper one."""
    viewer = viewer_of(request)
    job = await desk_of(request).do(viewer.film, viewer.view(body.view), _place(body.start), _place(body.end))
    return job.as_dict()


@router.get("")
async def jobs(request: Request) -> list[dict[str, Any]]:
    """All jobs, the newest first."""
    return [job.as_dict() for job in viewer_of(request).jobs.all()]


@router.get("/{job}")
async def state(request: Request, job: Id) -> dict[str, Any]:
    """How far a job is, and the files that it has made."""
    found = viewer_of(request).jobs.get(job)
    return found.as_dict() | {"files": _files(found)}


@router.delete("/{job}")
async def cancel(request: Request, job: Id) -> dict[str, Any]:
    """Stop a job. What is finished stays."""
    return viewer_of(request).jobs.cancel(job).as_dict()


@router.get("/{job}/events", response_class=StreamingResponse)
async def events(request: Request, job: Id, last_event_id: Annotated[str, Header(max_length=20)] = "") -> StreamingResponse:
    """Progress as server-sent events: ``progress``, and at last ``done``, ``failed`` or ``cancelled``.

    ``Last-Event-ID`` goes on from there. At most 64 may follow at once.
    """
    jobs = viewer_of(request).jobs
    found = jobs.get(job)
    if jobs.followers >= _FOLLOWERS:
        raise QueueFullError("too many follow jobs already; ask for the job's state instead")
    start = int(last_event_id) + 1 if last_event_id.isascii() and last_event_id.isdigit() else 0
    return StreamingResponse(_stream(jobs, found, start), media_type="text/event-stream", headers={"cache-control": "no-store"})


@router.get("/{job}/files/{name}", response_class=FileResponse)
async def file(request: Request, job: Id, name: Annotated[str, Path(max_length=40)]) -> FileResponse:
    """A file of a job: ``run.json``, ``zoom.mp4``, ``strip.png``."""
    found = viewer_of(request).jobs.get(job)
    if name not in _FILES or not (found.folder / name).is_file():
        raise OptionError(f"this job has no file {name[:40]!r}; it has {', '.join(_files(found)) or 'none yet'}")
    return FileResponse(found.folder / name, media_type=_FILES[name])


@router.get("/{job}/states/{number}.png", response_class=FileResponse)
async def picture(request: Request, job: Id, number: Annotated[int, Path(ge=0, le=999)]) -> FileResponse:
    """A state of a zoom, as soon as it is made."""
    path: FilePath = viewer_of(request).jobs.get(job).folder / "states" / f"{number}.png"
    if not path.is_file():
        raise OptionError(f"this job has no state {number} (yet)")
    return FileResponse(path, media_type="image/png")


def _files(job: Job) -> list[str]:
    states = sorted((job.folder / "states").glob("*.png"), key=lambda path: (len(path.stem), path.stem))
    return [name for name in _FILES if (job.folder / name).is_file()] + [f"states/{path.name}" for path in states]


def _place(body: PlaceBody) -> Place:
    return Place(body.x, body.y, body.side)


async def _stream(jobs: Jobs, job: Job, start: int) -> AsyncIterator[str]:
    """Events from number ``start`` on; a client that goes away ends it at the next pause."""
    jobs.followers += 1
    try:
        # Whoever claims to know more than there is knows another job, and is told everything.
        sent, quiet = start if start <= len(job.events) else 0, 0.0
        while True:
            over = job.over
            for number in range(sent, len(job.events)):
                event = job.events[number]
                name = event["state_of_job"] if event["state_of_job"] in ("done", "failed", "cancelled") else "progress"
                yield f"id: {number}\nevent: {name}\ndata: {json.dumps(event)}\n\n"
                sent, quiet = number + 1, 0.0
            if over:
                return
            await asyncio.sleep(_TICK)
            quiet += _TICK
            if quiet >= _ALIVE:
                quiet = 0.0
                yield ": still here\n\n"
    finally:
        jobs.followers -= 1
