"""Who may ask, and what a page may do: token, host and origin checks, and headers on every answer. Plain ASGI."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "chainzoom_token"
# OpenSeadragon puts one style element into the page; its text is part of the pinned version.
_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
_HEADERS = {
    "content-security-policy": f"default-src 'none'; script-src 'self'; style-src 'self' {_STYLE}; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Wraps an app. With a token, every request must carry it (``?token=`` once, then a cookie; or ``Authorization: Bearer``).

    Without one, only requests for a loopback host name are served, so that no web site can point its own name here. Requests that change
    something must not come from another site's page.
    """

    def __init__(self, app: App, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(key, value) for key, value in message["headers"] if key.lower() != b"server"]
                message["headers"] = [*own, *((key.encode(), value.encode()) for key, value in _HEADERS.items())]
            await send(message)

        if self._token and given and scope["path"] == "/" and self._matches(given):
            await _enter(scope, self._token, guarded)
        elif refusal is not None:
            await _answer(guarded, *refusal)
        else:
            await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._token is None:
            try:
                name = urlsplit(f"//{host}").hostname or ""
            except ValueError:
                name = ""
            if not is_loopback(name):
                return 403, "this viewer answers to loopback host names alone; open it as http://127.0.0.1"
        elif not any(self._matches(one) for one in _tokens(headers)):
            return 401, "a token is needed: open the address that chainzoom view printed"
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and origin is not None and urlsplit(origin).netloc != host:
            return 403, "this request comes from another site's page"
        return None

    def _matches(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())


def _tokens(headers: dict[str, str]) -> list[str]:
    found = []
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found.append(value.strip())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return [*found, cookie.value] if cookie else found


async def _enter(scope: Scope, token: str, send: Send) -> None:
    """Keep the token in a cookie and out of the address bar."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    query.pop("token")
    place = "/" + (f"?{urlencode(query, doseq=True)}" if query else "")
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    headers = [(b"location", place.encode()), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
