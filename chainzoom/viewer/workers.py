"""Worker processes that answer tasks; one that dies is replaced, and its task tried once more.

Processes, not threads: a network's native code may crash or hold a core for seconds, and neither may stop the server.
"""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import Any

from chainzoom.errors import BackendError, ChainzoomError
from chainzoom.viewer.queue import DroppedError, Task, TaskQueue
from chainzoom.viewer.studio import Studio, StudioOptions

_CONTEXT = multiprocessing.get_context("spawn")
_TRIES = 2
_DROP = "drop"


def work(connection: Connection, options: StudioOptions) -> None:
    """The worker's main: tasks in, (result, error) out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def interrupted() -> bool:
        return connection.poll() and connection.recv() == _DROP

    studio = Studio(options, interrupted)
    with suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            if task == _DROP:  # came after the task was done
                continue
            try:
                answer: tuple[Any, BaseException | None] = (studio.answer(task), None)
            except (DroppedError, ChainzoomError) as error:
                # Errors with arguments of their own do not survive pickling; their text is what matters.
                plain = type(error) if type(error) in (DroppedError, BackendError) else ChainzoomError
                answer = (None, plain(str(error)))
            except EOFError:
                return
            except Exception as error:
                answer = (None, BackendError(f"unexpected {type(error).__name__}: {error}"))
            connection.send(answer)


class Worker:
    """One process and the pipe to it."""

    def __init__(self, options: StudioOptions) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self.process: BaseProcess = _CONTEXT.Process(target=work, args=(theirs, options), daemon=True)
        self.process.start()
        theirs.close()

    def answer(self, task: Task) -> Any:
        """The result of a task. Raises its error, DroppedError when it was abandoned on the way, or EOFError when the process died."""
        try:
            self._connection.send(task.payload)
            told = False
            while not self._connection.poll(0.05):
                if task.abandoned and not told:
                    self._connection.send(_DROP)
                    told = True
                if not self.process.is_alive() and not self._connection.poll():
                    raise EOFError
            result, error = self._connection.recv()
        except OSError:
            raise EOFError from None
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self.process.join(0.2)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(5)


class Pool:
    """Threads that each feed one worker from the queue."""

    def __init__(self, queue: TaskQueue, options: StudioOptions, count: int = 1) -> None:
        self._queue, self._options = queue, options
        self._closing = Event()
        self._workers: list[Worker | None] = [None] * count
        self._threads = [Thread(target=self._feed, args=(number,), daemon=True, name=f"feeder-{number}") for number in range(count)]
        self.replaced = 0

    def start(self) -> None:
        """Begin; the processes start at once, so that their imports are done when the first tile is asked for."""
        self._workers = [Worker(self._options) for _ in self._workers]
        for thread in self._threads:
            thread.start()

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker is not None and worker.process.pid is not None]

    def stop(self) -> None:
        """End everything."""
        self._closing.set()
        self._queue.close()
        for worker in self._workers:
            if worker is not None:
                worker.stop()
        for thread in self._threads:
            thread.join(5)

    def _feed(self, number: int) -> None:
        while not self._closing.is_set():
            task = self._queue.take(1.0)
            if task is not None:
                self._serve(number, task)

    def _serve(self, number: int, task: Task) -> None:
        worker = self._workers[number]
        try:
            if worker is None or not worker.process.is_alive():
                raise EOFError
            self._queue.finish(task, worker.answer(task))
        except EOFError:
            if self._closing.is_set():
                self._queue.finish(task, error=DroppedError("the viewer is closing"))
                return
            if worker is not None:
                worker.stop()
            self.replaced += 1
            self._workers[number] = Worker(self._options)
            if task.attempts + 1 < _TRIES:
                self._queue.again(task)
            else:
                self._queue.finish(task, error=BackendError("the worker died twice over this; try another preset, or --memory low"))
        except Exception as error:
            self._queue.finish(task, error=error)
