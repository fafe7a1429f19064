"""The web application: routes, errors as JSON, the page, and the guard around everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from chainzoom.errors import BackendError, ChainzoomError, ImageError, MissingExtraError, OptionError, WeightsError
from chainzoom.version import __version__
from chainzoom.viewer import job_routes, routes
from chainzoom.viewer.queue import DroppedError, QueueFullError
from chainzoom.viewer.security import App, Guard
from chainzoom.viewer.service import Viewer
from chainzoom.viewer.waiting import Desk

STATIC = Path(__file__).parent / "static"
_THREADS = 4
_FRESH = {"cache-control": "no-cache"}
# The first that fits counts.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (QueueFullError, 429),
    (DroppedError, 499),
    (ImageError, 422),
    (WeightsError, 501),
    (MissingExtraError, 501),
    (BackendError, 503),
    (ChainzoomError, 400),
)


class Assets(StaticFiles):
    """Files of the page, asked about every time, so that an upgrade shows at once."""

    async def get_response(self, path: str, scope: object) -> Response:
        """See StaticFiles."""
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers.update(_FRESH)
        return response


def create_app(viewer: Viewer, token: str | None = None) -> App:
    """The application around a viewer; it starts and closes it. With a ``token`` every request must carry it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_THREADS, "pixels") as executor:
            app.state.desk = Desk(executor)
            viewer.start()
            yield
            viewer.close()

    app = FastAPI(
        title="chainzoom viewer",
        version=__version__,
        description="Photos as maps that are drawn where somebody looks: tiles, views, zoom jobs, films.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.viewer = viewer
    app.include_router(routes.router)
    app.include_router(job_routes.router)
    for kind, status in _STATUS:
        app.add_exception_handler(kind, _handler(status))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=_FRESH)

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html", headers=_FRESH)

    app.mount("/static", Assets(directory=STATIC), name="static")
    return Guard(app, token)


def _handler(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        missing = status == 400 and isinstance(error, OptionError) and str(error).startswith(("there is no ", "level ", "this job has no"))
        return routes.answer_error(404 if missing else status, error, {"retry-after": "1"} if status == 429 else None)

    return handle
