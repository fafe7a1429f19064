"""One file over HTTP into a ``.part`` beside its place: resumed after a break, retried after passing faults, never a mix of versions."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from chainzoom.atomic import output_error
from chainzoom.errors import OutputError, WeightsError
from chainzoom.version import __version__

_CHUNK = 1 << 20
_ATTEMPTS = 4
"""Tries in a row that bring no new byte before giving up."""
_TIMEOUT = 30.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

Tell = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all (0 when the server does not say)."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What the server says of a file before its first byte: SHA-256 and commit may be empty, size 0."""

    sha256: str = ""
    size: int = 0
    revision: str = ""


class RefusedError(WeightsError):
    """The server answered with an error that waiting does not cure; ``status`` is HTTP's."""

    def __init__(self, status: int, url: str) -> None:
        self.status = status
        super().__init__(f"{url} answered {status} {http.client.responses.get(status, '')}".rstrip())


def download(
    url: str, part: Path, *, token: str = "", check: Callable[[Announced], None], tell: Tell, sleep: Callable[[float], None] = time.sleep
) -> Announced:
    """Bring the file at ``url`` into ``part``, going on from what ``part`` holds.

    ``check`` may refuse what is announced before anything is written. ``token`` goes to the address's own host alone, and there only
    over HTTPS or to this machine. On an error or Ctrl-C ``part`` stays, for the next try. Raises RefusedError, WeightsError when the
    connection keeps breaking, OutputError when the disk is full.
    """
    fruitless, pause = 0, 1.0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part, token, check, tell)
        except _PassingError as fault:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= _ATTEMPTS:
                raise WeightsError(
                    f"the download of {url} stopped after {_size(part)} bytes ({fault}); run the same command again, it goes on from there"
                ) from None
            sleep(pause)
            pause = min(2 * pause, 30.0) if fruitless else 1.0


class _PassingError(Exception):
    """Worth another try."""


def _attempt(url: str, part: Path, token: str, check: Callable[[Announced], None], tell: Tell) -> Announced:
    mark = part.with_name(f"{part.name}.etag")
    start = _size(part)
    version = mark.read_text(encoding="utf-8") if mark.is_file() else ""
    request = urllib.request.Request(url, headers={"User-Agent": f"chainzoom/{__version__}"})
    if token and (urlsplit(url).scheme == "https" or urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if start and version:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    redirects = _Redirects()
    try:
        with urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT) as response:
            told = _announced(redirects.headers, response)
            if response.headers.get_content_type() == "text/html":
                raise WeightsError(f"{url} answered with a web page instead of a file; check the address and your connection's log-in page")
            resumed = response.status == 206
            check(told)
            _check_space(part, told.size - (start if resumed else 0))
            strong = response.headers.get("ETag", "")
            _save(mark, strong if strong.startswith('"') else "")
            _receive(response, part, start if resumed else 0, told.size, tell)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is there does not fit the file any more, or is all of it: begin again
            part.unlink(missing_ok=True)
            raise _PassingError("the part did not fit") from None
        if error.code in _PASSING:
            raise _PassingError(f"{error.code} {http.client.responses.get(error.code, '')}") from None
        raise RefusedError(error.code, url) from None
    except urllib.error.URLError as error:
        raise _PassingError(str(error.reason)) from None
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _PassingError(str(error) or type(error).__name__) from None
    mark.unlink(missing_ok=True)
    return told


def _receive(response: Any, part: Path, start: int, size: int, tell: Tell) -> None:
    """Write the body behind the first ``start`` bytes of ``part``. A body that ends early raises _PassingError."""
    done = start
    tell(done, size)
    with _opened(part, "ab" if start else "wb") as file:
        while chunk := response.read(_CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                raise output_error(part, error) from error
            done += len(chunk)
            tell(done, size)
    if size and done < size:
        raise _PassingError("the connection closed early")
    if size and done > size:
        part.unlink(missing_ok=True)
        raise _PassingError("more bytes came than were announced")


def _announced(redirected: list[Message], response: Any) -> Announced:
    """From the headers of the answer and of every redirection before it: the hub tells a file's SHA-256 in its redirection."""
    headers: list[Any] = [*redirected, response.headers]

    def first(name: str) -> str:
        return next((str(found[name]) for found in headers if found.get(name)), "")

    sha256 = first("X-Linked-Etag").removeprefix("W/").strip('"').lower()
    total = re.fullmatch(r"bytes \d+-\d+/(\d+)", str(response.headers.get("Content-Range", "")))
    size = total[1] if total else response.headers.get("Content-Length") or first("X-Linked-Size")
    commit = first("X-Repo-Commit").lower()
    return Announced(
        sha256 if re.fullmatch(r"[0-9a-f]{64}", sha256) else "",
        int(size) if str(size or "").isdecimal() else 0,
        commit if re.fullmatch(r"[0-9a-f]{40}", commit) else "",
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the redirections' headers; the token follows to the same host only, and never from HTTPS to HTTP."""

    def __init__(self) -> None:
        self.headers: list[Message] = []

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.headers.append(headers)
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise WeightsError(
                f"{req.full_url} redirects to an address without encryption ({new.scheme}://{new.hostname}); nothing was sent"
            )
        follow = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if follow is not None and secret and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            follow.add_unredirected_header("Authorization", secret)
        return follow


def _check_space(part: Path, need: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if need > free:
        raise OutputError(
            f"the disk is too full for {part.name.removesuffix('.part')}: {need / 1e9:.2f} GB to come, {free / 1e9:.2f} GB free"
        )


def _opened(part: Path, mode: str) -> IO[bytes]:
    try:
        return part.open(mode)
    except OSError as error:
        raise output_error(part, error) from error


def _save(mark: Path, text: str) -> None:
    """Remember which version ``part`` is of; without it the next try begins anew, so a failure here costs only time."""
    with suppress(OSError):
        mark.write_text(text, encoding="utf-8")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
