"""JSON over HTTP to one server: time limits, retries, and an API key that comes from the environment and appears nowhere else.

Errors are made from scratch and carry no chained exception: those of the HTTP library hold the request with its headers.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from chainzoom.errors import BackendError, OptionError
from chainzoom.extras import need

KEY_NAMES = ("CHAINZOOM_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first one that is set counts."""

FIRST_WAIT, LONGEST_WAIT, LONGEST_RETRY_AFTER = 0.5, 8.0, 60.0
"""Seconds between attempts: doubling from the first to the longest, or what the server asks for, within reason."""

MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt gave nothing: ``status`` 0 without an answer; ``again`` when another attempt may help, after ``wait`` seconds."""

    what: str
    remedy: str
    status: int = 0
    again: bool = False
    wait: float = 0.0


class Server:
    """A base URL and how to talk to it. Thread-safe; ``close`` when done.

    url        ``http(s)://host[:port]/v1``; ``/v1`` is added when there is no path
    key_names  environment variables looked into for the API key at each request
    timeout    seconds for one attempt as a whole
    retries    further attempts after connection errors, time-outs, 408, 429 and 5xx
    transport  an httpx transport, for tests
    """

    def __init__(
        self,
        url: str,
        *,
        key_names: Sequence[str] = KEY_NAMES,
        timeout: float = 60.0,
        retries: int = 3,
        connections: int = 8,
        transport: Any = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        httpx = need("httpx", "the remote prompter")
        self.url, local = _checked(url)
        self._key_names, self._timeout, self._retries, self._sleep = tuple(key_names), timeout, retries, sleep
        self._httpx = httpx
        # A proxy from the environment must not get what is meant for this machine.
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(max_connections=connections),
            transport=transport,
            trust_env=not local,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, payload: Any = None) -> Any:
        """The decoded JSON answer. Raises BackendError naming the URL and the remedy when all attempts failed."""
        outcome = self.attempt(method, path, payload)
        if isinstance(outcome, Failure):
            raise self.error(outcome)
        return outcome

    def attempt(self, method: str, path: str, payload: Any = None, *, final: Sequence[int] = ()) -> Any | Failure:
        """Like ``ask``, but a failure after all attempts is returned, and one with a status in ``final`` at once."""
        for attempt in range(self._retries + 1):
            outcome = self._once(method, path, payload)
            if not isinstance(outcome, Failure) or not outcome.again or outcome.status in final:
                break
            if outcome.wait > LONGEST_RETRY_AFTER or attempt == self._retries:
                break
            backoff = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
            self._sleep(max(backoff, outcome.wait))
        return outcome

    def error(self, failure: Failure) -> BackendError:
        """The one-line error for a failure; no key in it."""
        return BackendError(self.redacted(f"the server {self.url} {failure.what}; {failure.remedy}"))

    def redacted(self, text: str) -> str:
        """``text`` with the API key, should it occur, replaced."""
        for name in self._key_names:
            if key := os.environ.get(name, "").strip():
                text = text.replace(key, "[key]")
        return text

    def _once(self, method: str, path: str, payload: Any) -> Any | Failure:
        headers = self._headers()
        start = time.monotonic()
        body = b""
        try:
            with self._client.stream(method, f"{self.url}{path}", json=payload, headers=headers) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        return Failure(f"sent more than {MAX_BYTES >> 20} MiB", "check that the URL is an OpenAI-compatible API")
                    if time.monotonic() - start > self._timeout:
                        return self._slow()
                status, said = response.status_code, response.headers
        except self._httpx.TimeoutException:
            return self._slow()
        except (self._httpx.HTTPError, self._httpx.InvalidURL, self._httpx.StreamError) as error:
            return Failure(f"cannot be reached ({type(error).__name__})", "start it, or check host, port and network", again=True)
        return self._judged(status, said, body)

    def _judged(self, status: int, headers: Any, body: bytes) -> Any | Failure:
        if status == 200:
            try:
                return json.loads(body)
            except ValueError:
                return Failure(
                    "answered something that is not JSON", "check that the URL is an OpenAI-compatible API (it mostly ends in /v1)", 200
                )
        text = self.redacted(body.decode("utf-8", "replace"))
        text = " ".join(re.sub(r"[^\x20-\x7e\u00a0-\uffff]", " ", text).split())[:160]
        what = f"answered {status}" + (f": {text}" if text else "")
        if status in (401, 403):
            return Failure(
                f"refused the key ({status})", f"set the API key in the environment variable {' or '.join(self._key_names)}", status
            )
        if status == 404:
            return Failure(what, "check that the URL ends in /v1 and that it serves this model", status)
        if 300 <= status < 400:
            return Failure(f"answered {status}, a redirect", "give the URL that it leads to", status)
        if status in (408, 429) or status >= 500:
            wait = _retry_after(headers.get("retry-after", ""))
            return Failure(what, "wait and try again, or lower the concurrency", status, again=True, wait=wait)
        return Failure(what, "check the model's name and that it takes images", status)

    def _slow(self) -> Failure:
        return Failure(
            f"did not answer within {self._timeout:g} s", "raise the timeout, lower the concurrency or use a faster model", again=True
        )

    def _headers(self) -> dict[str, str]:
        for name in self._key_names:
            key = os.environ.get(name, "").strip()
            if not key:
                continue
            # The HTTP library would print a key that it cannot send.
            if not re.fullmatch(r"[\x21-\x7e]+", key):
                raise OptionError(f"the environment variable {name} holds characters that no API key has; set it again")
            return {"Authorization": f"Bearer {key}"}
        return {}


def _checked(url: str) -> tuple[str, bool]:
    """The base URL without a trailing slash, and whether it is this machine; OptionError, which never repeats a bad one."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise OptionError("the server's URL is not usable; give one like http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise OptionError(f"the server's URL must hold no user, password, query or fragment; put the key in {KEY_NAMES[0]}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost" or host.endswith(".localhost")
    return f"{parts.scheme}://{parts.netloc}{path}", local


def _retry_after(value: str) -> float:
    """Seconds from a Retry-After header, which holds a number or a date; 0 when it holds neither."""
    try:
        return max(0.0, min(float(value), 1e9)) if value else 0.0
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
