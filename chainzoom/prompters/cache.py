"""Answers that were given before: a bounded cache on disk, shared by threads and processes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OutputError

_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL, used REAL NOT NULL)"


def image_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of an 8-bit image's shape and bytes, in hex."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def answer_key(model: str, question: str, images: Sequence[NDArray[np.uint8]], **settings: str | float | None) -> str:
    """What an answer depends on, as one hash: the model, the question, the images and the settings that shape the answer."""
    parts = {"model": model, "question": question, "images": [image_hash(image) for image in images], "settings": settings}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class AnswerCache:
    """Keys to JSON values, at most ``limit`` of them, the least recently used going first.

    ``path`` None keeps them in memory. Each write is one transaction, so a crash leaves the old or the new state. Raises OutputError
    when the file is no cache or cannot be written.
    """

    def __init__(self, path: str | Path | None = None, limit: int = 10_000) -> None:
        self.path, self.limit, self._lock = None if path is None else Path(path), max(1, limit), threading.Lock()
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path or ":memory:", timeout=30, check_same_thread=False)
            try:
                with self._db:
                    self._db.execute(_TABLE)
            except sqlite3.Error:
                self._db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    @classmethod
    def of(cls, cache: AnswerCache | str | Path | None) -> AnswerCache:
        """The cache itself, the one in a file, or for None one that lives in memory."""
        return cache if isinstance(cache, AnswerCache) else cls(cache)

    def get(self, key: str) -> Any | None:
        """The value, or None when it is not known."""
        with self._lock:
            try:
                row = self._db.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    with self._db:
                        self._db.execute("UPDATE answers SET used = ? WHERE key = ?", (time.time(), key))
            except sqlite3.Error as error:
                raise self._failure(error) from error
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Remember a JSON-able value; the oldest ones go when there are more than ``limit``."""
        with self._lock:
            try:
                with self._db:
                    self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, json.dumps(value), time.time()))
                    self._db.execute(
                        "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?)",
                        (self.limit,),
                    )
            except sqlite3.Error as error:
                raise self._failure(error) from error

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        with self._lock:
            self._db.close()

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"the prompt cache {self.path or '(memory)'} cannot be used ({error}); delete it or choose another place")
