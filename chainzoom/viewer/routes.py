"""Photos, views and tiles over HTTP."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from chainzoom.errors import ImageError, OptionError
from chainzoom.viewer.models import ViewBody
from chainzoom.viewer.pyramid import TILE, TOP, Pyramid, TileBox
from chainzoom.viewer.service import View, Viewer
from chainzoom.viewer.specs import Made, Opened, Said
from chainzoom.viewer.waiting import Desk, future_of, result_of

router = APIRouter(prefix="/api")
Id = Annotated[str, Path(max_length=64, pattern="^[0-9a-f]+$")]
Level = Annotated[int, Path(ge=0, le=64)]
Cell = Annotated[int, Path(ge=0, le=2**31)]
_KEPT = {"cache-control": "private, max-age=3600"}


def viewer_of(request: Request) -> Viewer:
    """The viewer behind the app."""
    viewer = request.app.state.viewer
    assert isinstance(viewer, Viewer)
    return viewer


def desk_of(request: Request) -> Desk:
    """Its threads for short work."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def peer_of(request: Request) -> str:
    """Who asks, for fair shares of the queue."""
    return request.client.host if request.client else ""


async def opened_of(request: Request, view: View) -> Opened:
    """What a worker says of the view; waits until it was built."""
    assert view.opening is not None
    return await future_of(request, view.opening)


@router.get("/status", tags=["viewer"])
async def status(request: Request) -> dict[str, Any]:
    """How much waits, and what the tiles so far have cost."""
    return viewer_of(request).status()


@router.get("/presets", tags=["viewer"])
async def presets(request: Request) -> list[dict[str, Any]]:
    """What can be chosen, the one that the viewer was started with first."""
    return await desk_of(request).do(viewer_of(request).presets)


@router.get("/photos", tags=["photos"])
async def photos(request: Request) -> list[dict[str, Any]]:
    """All photos: those of the folder, then uploads."""
    library = viewer_of(request).library
    return [{"id": entry.id, "name": entry.name, "uploaded": entry.uploaded} for entry in library.entries()]


@router.post("/photos", status_code=201, tags=["photos"])
async def upload(request: Request, name: Annotated[str, Query(max_length=200)] = "photo") -> dict[str, Any]:
    """Upload a photo: its bytes are the body (``curl --data-binary @photo.jpg``)."""
    library = viewer_of(request).library
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > library.limits.each:
        raise ImageError(f"a photo may have {library.limits.each >> 20} MiB at most; this one has {int(told) >> 20}")
    coming = library.receive()
    try:
        async for part in request.stream():
            coming.write(part)
        entry = await desk_of(request).do(library.accept, coming, name)
    finally:
        coming.discard()
    return {"id": entry.id, "name": entry.name, "uploaded": True}


@router.get("/photos/{photo}", tags=["photos"])
async def photo(request: Request, photo: Id) -> dict[str, Any]:
    """Size and levels of a photo."""
    viewer = viewer_of(request)
    pixels = await desk_of(request).do(viewer.library.pixels, photo)
    about = pixels.photo
    return {
        "id": photo,
        "name": viewer.library.entry(photo).name,
        "width": about.width,
        "height": about.height,
        "sha256": about.sha256,
        "bits": about.bits,
        "notes": list(about.notes),
        "tile": TILE,
        "top": TOP,
        "levels": pixels.pyramid.levels,
        "real_level": pixels.pyramid.level_of(1),
    }


@router.get("/photos/{photo}/thumbnail.png", tags=["photos"], response_class=Response)
async def thumbnail(request: Request, photo: Id, side: Annotated[int, Query(ge=32, le=1024)] = 480) -> Response:
    """The whole photo, small."""
    data = await desk_of(request).do(viewer_of(request).thumbnail, photo, side)
    return Response(data, media_type="image/png", headers=_KEPT)


@router.get("/photos/{photo}/tiles/{level}/{column}_{row}.png", tags=["photos"], response_class=Response)
async def real_tile(request: Request, photo: Id, level: Level, column: Cell, row: Cell) -> Response:
    """The photo's own pixels; above 1x, plain bicubic enlargement of them."""
    library = viewer_of(request).library

    def make() -> bytes:
        pixels = library.pixels(photo)
        return pixels.tile(pixels.pyramid.tile(level, column, row))

    return Response(await desk_of(request).do(make), media_type="image/png", headers=_KEPT)


@router.post("/views", status_code=201, tags=["views"])
async def open_view(request: Request, body: ViewBody) -> dict[str, Any]:
    """Choose a picture. Its tiles can be asked for at once; the same choices give the same id."""
    viewer = viewer_of(request)
    given = (body.photo, body.preset, body.prompt, body.seed, body.consistency, peer_of(request))
    view = await desk_of(request).do(viewer.open_view, *given)
    return {"id": view.spec.id, "photo": view.photo, "levels": view.pyramid.levels, "tile": TILE}


@router.get("/views/{view}", tags=["views"])
async def record(request: Request, view: Id) -> dict[str, Any]:
    """The record: everything that decides the pixels. Waits until the preset is loaded."""
    viewer = viewer_of(request)
    found = viewer.view(view)
    opened = await opened_of(request, found)
    return await desk_of(request).do(viewer.record, found, opened)


@router.get("/views/{view}/tiles/{level}/{column}_{row}.png", tags=["views"], response_class=Response)
async def tile(
    request: Request, view: Id, level: Level, column: Cell, row: Cell, order: Annotated[float, Query(ge=0, le=1e6)] = 1000
) -> Response:
    """A tile; a synthetic one is waited for. ``order``: the smallest is made first. Going away drops it from the queue."""
    viewer = viewer_of(request)
    found = viewer.view(view)
    box = found.pyramid.tile(level, column, row)
    if box.real:
        data = await desk_of(request).do(lambda: viewer.pixels(found).tile(box))
        return Response(data, media_type="image/png", headers=_KEPT)
    opened = await opened_of(request, found)
    kept = await desk_of(request).do(viewer.cached, opened, level, column, row)
    if kept is not None:
        return Response(kept, media_type="image/png", headers=_KEPT | {"x-chainzoom": "cached"})
    made: Made = await result_of(request, viewer.ask_tile(found, opened, level, column, row, order, peer_of(request)))
    told = f"made in {made.seconds:.3f} s, backbone {made.backbone:.3f} s, windows {made.windows}"
    return Response(made.data, media_type="image/png", headers=_KEPT | {"x-chainzoom": told})


@router.get("/views/{view}/words", tags=["views"])
async def words(
    request: Request,
    view: Id,
    x: Annotated[float, Query(ge=0, allow_inf_nan=False)],
    y: Annotated[float, Query(ge=0, allow_inf_nan=False)],
    scale: Annotated[float, Query(gt=0, le=TOP, allow_inf_nan=False)],
) -> dict[str, Any]:
    """What the prompter says of the window at a point (photo pixels) of the level that shows ``scale``."""
    viewer = viewer_of(request)
    found = viewer.view(view)
    if x > found.pyramid.width or y > found.pyramid.height:
        raise OptionError(f"the photo has {found.pyramid.width} x {found.pyramid.height} pixels; there is no point {x:g},{y:g}")
    opened = await opened_of(request, found)
    facts, level = opened.facts, 1
    while facts["scale"] ** level < scale * (1 - 1e-9):
        level += 1
    told = {"uses_prompt": facts["uses_prompt"], "stochastic": facts["stochastic"], "level": facts["scale"] ** level}
    if opened.prompter is None:
        return told | {"text": found.spec.prompt, "source": "user" if found.spec.prompt else "null", "tags": [], "notes": []}
    said: Said = await result_of(request, viewer.ask_words(found, level, x, y, peer_of(request)))
    return told | {"text": said.text, "source": said.source, "tags": [list(tag) for tag in said.tags], "notes": list(said.notes)}


@router.get("/views/{view}/picture.png", tags=["views"], response_class=Response)
async def picture(
    request: Request,
    view: Id,
    x: Annotated[float, Query(allow_inf_nan=False, ge=-1e9, le=1e9)],
    y: Annotated[float, Query(allow_inf_nan=False, ge=-1e9, le=1e9)],
    width: Annotated[int, Query(ge=1, le=4096)],
    height: Annotated[int, Query(ge=1, le=4096)],
    scale: Annotated[float, Query(gt=0, le=TOP, allow_inf_nan=False)],
) -> Response:
    """A region with provenance inside, to keep: its top-left corner in photo pixels, its size in pixels, at any scale."""
    viewer = viewer_of(request)
    found = viewer.view(view)
    opened = await opened_of(request, found)
    box = _cut(found.pyramid, x, y, width, height, scale)
    made: Made = await result_of(request, viewer.ask_picture(found, opened, scale, box, peer_of(request)))
    return Response(made.data, media_type="image/png", headers={"content-disposition": f'attachment; filename="zoom-{scale:g}x.png"'})


def _cut(pyramid: Pyramid, x: float, y: float, width: int, height: int, scale: float) -> TileBox:
    """The part of the asked box that lies on the photo."""
    limits = (max(1, math.floor(pyramid.width * scale + 1e-6)), max(1, math.floor(pyramid.height * scale + 1e-6)))
    left, top = round(x * scale), round(y * scale)
    box = (max(0, left), max(0, top), min(limits[0], left + width), min(limits[1], top + height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise OptionError("nothing of the photo lies in this region")
    return TileBox(scale, box)


def answer_error(status_code: int, error: Exception, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error's one line as JSON."""
    return JSONResponse({"detail": str(error)}, status_code=status_code, headers=headers)
