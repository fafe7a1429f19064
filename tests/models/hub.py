"""A hub on this machine: answers as the real one does (redirections, ETag, Range, If-Range), or breaks in the ways a network does."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Page:
    """``cuts``: the answers to come that close the connection after so many bytes of body; ``failures``: status codes to answer first."""

    body: bytes = b""
    status: int = 200
    announce: str | None = None
    redirect: str | None = None
    kind: str = "application/octet-stream"
    needs_token: str | None = None
    etag: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)


class Hub:
    """``pages``: path -> Page; ``asked``: (path, headers) of every request."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                hub.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def add(self, path: str, body: bytes, **more: object) -> Page:
        """A file of ``org/tiny`` at ``main`` and at COMMIT."""
        page = Page(body, **more)  # type: ignore[arg-type]
        for revision in ("main", COMMIT):
            self.pages[f"/org/tiny/resolve/{revision}/{path}"] = page
            self.pages[f"/org/tiny/raw/{revision}/{path}"] = page
        return page

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(to.path, Page(status=404))
        if page.failures:
            return self.plain(to, page.failures.pop(0))
        if page.needs_token and to.headers.get("Authorization") != f"Bearer {page.needs_token}":
            return self.plain(to, 403 if to.headers.get("Authorization") else 401)
        if page.status != 200:
            return self.plain(to, page.status)
        hashes = {"X-Repo-Commit": COMMIT}
        if page.announce != "":
            hashes["X-Linked-Etag"] = f'"{page.announce or sha256(page.body)}"'
        if page.redirect:
            to.send_response(302)
            for key, value in {"Location": page.redirect, **hashes, "Content-Length": "0"}.items():
                to.send_header(key, value)
            return to.end_headers()
        return self.body(to, page, hashes)

    def body(self, to: BaseHTTPRequestHandler, page: Page, hashes: dict[str, str]) -> None:
        etag = f'"{sha256(page.body)[:16]}"'
        asked = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        start = int(asked[1]) if asked and to.headers.get("If-Range") == etag else 0
        if start >= len(page.body) and start:
            return self.plain(to, 416)
        to.send_response(206 if start else 200)
        for key, value in hashes.items():
            to.send_header(key, value)
        if start:
            to.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
        if page.etag:
            to.send_header("ETag", etag)
        to.send_header("Content-Type", page.kind)
        if page.length:
            to.send_header("Content-Length", str(len(page.body) - start))
        to.end_headers()
        stop = start + page.cuts.pop(0) if page.cuts else len(page.body)
        with suppress(ConnectionError):  # the other side may have gone: that is what some tests are about
            to.wfile.write(page.body[start:stop])
        to.close_connection = True
        return None

    def plain(self, to: BaseHTTPRequestHandler, status: int) -> None:
        to.send_response(status)
        to.send_header("Content-Length", "0")
        to.end_headers()

    def paths(self) -> list[str]:
        return [path.rsplit("/", 1)[1] for path, _ in self.asked]

    def __enter__(self) -> Hub:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def point_at(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every download to ``hub``, past any proxy, and forget what the environment says otherwise."""
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("CHAINZOOM_GITHUB", hub.address)
    monkeypatch.setenv("no_proxy", "*")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
