"""What is finished, line by line, in a file that a kill cannot spoil: data reach the disk before the line that speaks of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from chainzoom.atomic import output_error
from chainzoom.errors import OutputError

_EVERY = 1.0


class Journal:
    """An append-only list of JSON objects; the first names the work, and a resumed work must be the same.

    Lines are written at most once a second, after ``sync`` has brought the data that they speak of to the disk. Raises OutputError.
    """

    def __init__(self, path: Path, header: dict[str, Any], sync: Callable[[], None] = lambda: None) -> None:
        self._path, self.sync = path, sync
        self._waiting: list[str] = []
        self._last = monotonic()
        self.entries = self._read(header)
        try:
            self._file = path.open("ab" if self.entries else "wb")
            lines = [json.dumps(entry) for entry in self.entries] or [json.dumps(header)]
            if self.entries:
                self._file.truncate(sum(len(line) + 1 for line in [json.dumps(header), *lines]))
            else:
                self._write(lines)
        except OSError as error:
            raise output_error(path, error) from error

    def _read(self, header: dict[str, Any]) -> list[dict[str, Any]]:
        """The whole lines of an earlier run."""
        try:
            lines = self._path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise output_error(self._path, error) from error
        entries = []
        with suppress(ValueError):
            entries = [json.loads(line) for line in lines]
        if not entries or entries[0] != json.loads(json.dumps(header)):
            raise OutputError(f"{self._path.parent} belongs to another enlargement; use --overwrite to start again")
        return entries[1:]

    def append(self, entry: dict[str, Any]) -> None:
        """Note something finished."""
        self._waiting.append(json.dumps(entry))
        if monotonic() - self._last > _EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring data and lines to the disk now."""
        if self._waiting:
            self.sync()
            try:
                self._write(self._waiting)
            except OSError as error:
                raise output_error(self._path, error) from error
        self._waiting, self._last = [], monotonic()

    def _write(self, lines: list[str]) -> None:
        self._file.write("".join(line + "\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        try:
            self.flush()
        finally:
            self._file.close()
