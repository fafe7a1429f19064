"""Run the viewer: pick the address, say where it is, open the browser."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from threading import Timer

from chainzoom.errors import MissingExtraError, OptionError
from chainzoom.viewer.security import is_loopback
from chainzoom.viewer.service import Viewer, ViewerOptions
from chainzoom.viewer.vendor import check_assets


def serve(options: ViewerOptions, host: str, port: int, *, browser: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. Raises MissingExtraError, OptionError for an address that cannot be used, and what Viewer raises."""
    try:
        import uvicorn

        from chainzoom.viewer.app import create_app
    except ImportError as error:
        raise MissingExtraError("chainzoom view", str(error.name or "fastapi").partition(".")[0], "viewer") from None
    check_assets()
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    bound = _bind(host, port)
    viewer = Viewer(options)
    address = f"http://{_shown(host)}:{bound.getsockname()[1]}/" + (f"?token={token}" if token else "")
    say(f"The viewer is at {address}")
    say("Ctrl-C ends it.")
    if browser:
        opener = Timer(1.0, lambda: webbrowser.open(address))
        opener.daemon = True
        opener.start()
    config = uvicorn.Config(
        create_app(viewer, token), log_level="warning", access_log=False, limit_concurrency=512, timeout_graceful_shutdown=2
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[bound])


def _bind(host: str, port: int) -> socket.socket:
    bound = None
    try:
        kind, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(kind, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(512)  # from here on whoever reads the address can use it
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OptionError(f"cannot listen on {host}:{port}: {reason}; try another --port or --host") from None
    return bound


def _shown(host: str) -> str:
    """The host of an address that another machine can open."""
    if host in ("0.0.0.0", "::"):
        host = _own(host) or socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _own(every: str) -> str | None:
    """This machine's address on the way out, None without a network. Nothing is sent: connecting a datagram socket only picks a route.

    The machine's name would be nicer to read, but often means the loopback address, or nothing to the others.
    """
    family, beyond = (socket.AF_INET6, "2001:db8::1") if every == "::" else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((beyond, 9))
            found = str(probe.getsockname()[0])
    except OSError:
        return None
    return None if is_loopback(found) else found
