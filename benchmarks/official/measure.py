"""Clocks, memory and cells: one configuration that does not fit must not end the run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from chainzoom.errors import BackendError
from chainzoom.torch_io import out_of_memory

FULL = "out of memory"


@dataclass
class Row:
    """A configuration's figures: batch -> scale -> seconds an image, batch -> peak bytes. A text stands for what could not be had."""

    name: str
    seconds: dict[int, dict[int, float] | str] = field(default_factory=dict)
    memory: dict[int, int | str | None] = field(default_factory=dict)


def now(device: str) -> float:
    """The clock, once everything that was asked of the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return perf_counter()


def marks(states: Iterable[Any], device: str) -> list[float]:
    """Seconds from the start to each item of an iterator."""
    start = now(device)
    return [now(device) - start for _ in states]


def attempt(run: Callable[[], Any]) -> Any:
    """What ``run`` gives, or ``FULL`` when the device's memory is; other failures pass."""
    try:
        return run()
    except (RuntimeError, BackendError) as error:  # BackendError: our parts' own words for it
        cause = error if isinstance(error, RuntimeError) else error.__cause__ or error
        if not (out_of_memory(cause) or "out of device memory" in str(error) or "ran out of memory" in str(error)):
            raise
        return FULL


def clean(device: str) -> None:
    """Give back what the last configuration held, and start counting its peak anew."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> int | None:
    """Most bytes that tensors took at one time on the GPU; None on the CPU, where it is not counted."""
    return None if device == "cpu" else torch.cuda.max_memory_allocated()
