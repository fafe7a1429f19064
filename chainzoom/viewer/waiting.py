"""Waiting for work on the event loop: until it is done, or the one who asked has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from fastapi import Request

from chainzoom.viewer.queue import DroppedError, QueueFullError, Ticket

_T = TypeVar("_T")


async def result_of(request: Request, ticket: Ticket) -> Any:
    """The result of a ticket, which is released in any case. Raises its error, or DroppedError when the client has gone."""
    try:
        return await future_of(request, ticket.future)
    finally:
        ticket.release()


async def future_of(request: Request, future: Future[_T]) -> _T:
    """A future's result without owning it. Raises DroppedError when the client has gone."""
    inner = asyncio.wrap_future(future)
    wanted = asyncio.ensure_future(asyncio.shield(inner))
    gone = asyncio.ensure_future(_gone(request))
    for one in (inner, wanted):
        one.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to look
    both: set[asyncio.Future[Any]] = {wanted, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise DroppedError("the client has gone")
        return wanted.result()
    finally:
        wanted.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Desk:
    """Short work in threads, bounded: what is too much is refused with QueueFullError."""

    def __init__(self, executor: Executor, limit: int = 128) -> None:
        self._executor, self._limit, self._busy = executor, limit, 0

    async def do(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """``function(*arguments)`` in a thread."""
        if self._busy >= self._limit:
            raise QueueFullError("too many requests at once; ask again in a moment")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*arguments))
        finally:
            self._busy -= 1
