"""What waits to be made: the tile nearest to the middle of somebody's screen first, and nothing that nobody waits for any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

from chainzoom.errors import ChainzoomError


class QueueFullError(ChainzoomError):
    """Too much is waiting already; come back later (HTTP 429)."""


class DroppedError(ChainzoomError):
    """Nobody waited for the result any more."""


@dataclass(eq=False, slots=True)
class Task:
    """A piece of work that one or more requests wait for.

    order     the smallest goes first: 0 is the middle of a screen
    waiters   by peer, how many wait
    attempts  how often a worker died over it
    """

    key: Hashable
    payload: Any
    order: float
    number: int
    waiters: Counter[str] = field(default_factory=Counter)
    future: Future[Any] = field(default_factory=Future)
    started: bool = False
    attempts: int = 0

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more."""
        return not self.waiters


class Ticket:
    """One request's place in the queue; ``release`` it when the request is over, however it ended."""

    def __init__(self, queue: TaskQueue, task: Task, peer: str) -> None:
        self._queue, self._task, self._peer = queue, task, peer
        self.future = task.future
        self._held = True

    def release(self) -> None:
        """Wait no more; a task without waiters leaves the queue, or is stopped by its worker."""
        if self._held:
            self._held = False
            self._queue._release(self._task, self._peer)


class TaskQueue:
    """A bounded priority queue; equal keys share one task. Safe to share between threads.

    limit  requests that may wait in all
    each   requests that one peer may have waiting
    """

    def __init__(self, limit: int = 256, each: int = 96) -> None:
        self._limit, self._each = limit, each
        self._tasks: dict[Hashable, Task] = {}
        self._peers: Counter[str] = Counter()
        self._ready = Condition()
        self._count = 0
        self._closed = False
        self.refused = self.dropped = 0

    def __len__(self) -> int:
        return sum(not task.started for task in self._tasks.values())

    def ask(self, key: Hashable, payload: Any, order: float = 0, peer: str = "") -> Ticket:
        """Join the task of this key, or queue a new one. Raises QueueFullError."""
        with self._ready:
            if self._closed or self._peers.total() >= self._limit or self._peers[peer] >= self._each:
                self.refused += 1
                raise QueueFullError("too many tiles are waiting; ask again in a moment")
            task = self._tasks.get(key)
            if task is None or (task.started and task.abandoned):
                self._count += 1
                task = self._tasks[key] = Task(key, payload, order, self._count)
                task.future.set_running_or_notify_cancel()
            task.order = min(task.order, order)
            task.waiters[peer] += 1
            self._peers[peer] += 1
            self._ready.notify()
            return Ticket(self, task, peer)

    def take(self, timeout: float | None = None) -> Task | None:
        """The next task to make, or None after ``timeout`` seconds or when the queue is closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._closed or len(self), timeout)
            waiting = [task for task in self._tasks.values() if not task.started]
            if self._closed or not waiting:
                return None
            task = min(waiting, key=lambda one: (one.order, one.number))
            task.started = True
            return task

    def again(self, task: Task) -> None:
        """Put a task back whose worker died."""
        with self._ready:
            task.started, task.attempts = False, task.attempts + 1
            self._ready.notify()

    def finish(self, task: Task, result: Any = None, error: BaseException | None = None) -> None:
        """Hand the result to everybody who waits."""
        with self._ready:
            if self._tasks.get(task.key) is task:
                del self._tasks[task.key]
        if error is None:
            task.future.set_result(result)
        else:
            task.future.set_exception(error)

    def close(self) -> None:
        """Refuse everything from now on and let the takers go."""
        with self._ready:
            self._closed = True
            left = [task for task in self._tasks.values() if not task.started]
            self._ready.notify_all()
        for task in left:
            self.finish(task, error=DroppedError("the viewer is closing"))

    def _release(self, task: Task, peer: str) -> None:
        with self._ready:
            self._peers -= Counter({peer: 1})
            task.waiters -= Counter({peer: 1})
            gone = task.abandoned and not task.started and self._tasks.get(task.key) is task
            if gone:  # at once, so that nobody joins what is about to be dropped
                del self._tasks[task.key]
            self.dropped += task.abandoned and not task.future.done()
        if gone:
            self.finish(task, error=DroppedError("nobody waits for it any more"))
