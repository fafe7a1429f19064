"""A real viewer on a free loopback port, and requests to it with the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import uvicorn
from PIL import Image as PILImage

from chainzoom.chain import Chain
from chainzoom.viewer.app import create_app
from chainzoom.viewer.library import UploadLimits
from chainzoom.viewer.service import Viewer, ViewerOptions
from chainzoom.viewer.specs import ViewSpec


@dataclass
class Running:
    viewer: Viewer
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"content-type": "application/json"} if data is not None and not isinstance(body, bytes) else {}
        connection.request(method, path, data, given | (headers or {}))
        response = connection.getresponse()
        found = response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        connection.close()
        return found

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, _, data = self.ask(method, path, body)
        assert status < 300, (status, data)
        return json.loads(data)

    def photo(self, name: str = "cloth.png") -> str:
        return next(str(one["id"]) for one in self.json("GET", "/api/photos") if one["name"] == name)

    def view(self, **choices: Any) -> str:
        return str(self.json("POST", "/api/views", {"photo": self.photo(), **choices})["id"])


@contextmanager
def running(
    root: Path | None,
    cache: Path,
    build: Callable[[ViewSpec], Chain] | None,
    *,
    token: str | None = None,
    limits: UploadLimits | None = None,
) -> Iterator[Running]:
    viewer = Viewer(ViewerOptions(root, cache, 200 << 20, limits=limits or UploadLimits(), build=build))
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(viewer, token), log_level="error", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.02)
    try:
        yield Running(viewer, bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()


def cloth(path: Path, width: int = 320, height: int = 200) -> Path:
    """A photo with something at every scale."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [0.5 + 0.3 * np.sin(x / 17 + c) * np.cos(y / 13 - c) + 0.1 * np.sin(x * y / 900) for c in range(3)]
    PILImage.fromarray(np.uint8(np.clip(np.stack(waves, -1), 0, 1) * 255)).save(path)
    return path
