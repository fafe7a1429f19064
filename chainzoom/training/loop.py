"""What every training loop needs: a guard against NaN and exploding losses, and progress with the time that is left."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from chainzoom.errors import BackendError
from chainzoom.training.runs import saved_steps, step_folder


class TrainingStoppedError(BackendError):
    """Training stopped by itself because going on would spoil the weights; the message names the last good checkpoint."""


class Guard:
    """Stops a run whose figures are NaN or infinite, or explode.

    A figure explodes when it is more than ``factor`` times the median of its last ``window`` values, ``patience`` steps in a row; one
    bad batch alone is no reason to stop. Watched after ``window`` values only.
    """

    def __init__(
        self, checkpoints: Path, *, factor: float = 100.0, patience: int = 5, window: int = 50, explosive: Collection[str] | None = None
    ) -> None:
        """``checkpoints`` holds the step folders that the message may name; ``factor`` 0: watch for NaN alone.

        ``explosive``: the figures that may not explode (None: all). Terms that begin at zero grow without harm and do not belong to them.
        """
        self._checkpoints, self._factor, self._patience, self._window = checkpoints, factor, patience, window
        self._explosive = explosive
        self._past: dict[str, deque[float]] = {}
        self._bad: dict[str, int] = {}

    def check(self, step: int, figures: Mapping[str, float]) -> None:
        """Raise TrainingStoppedError when a figure of this step (loss, gradient norm) is not to be trusted."""
        for name, value in figures.items():
            if not math.isfinite(value):
                self._stop(step, f"{name} is {value}")
            if self._explosive is not None and name not in self._explosive:
                continue
            past = self._past.setdefault(name, deque(maxlen=self._window))
            median = sorted(past)[len(past) // 2] if len(past) == self._window else 0.0
            if self._factor and median > 0 and value > self._factor * median:
                self._bad[name] = self._bad.get(name, 0) + 1
                if self._bad[name] >= self._patience:
                    self._stop(step, f"{name} is {value:.3g}, {value / median:.0f} times its median, {self._patience} steps in a row")
                continue  # a bad value does not count as normal
            self._bad[name] = 0
            past.append(value)

    def state_dict(self) -> dict[str, dict[str, list[float] | int]]:
        """What a checkpoint keeps, so that a resumed run stops where an undisturbed one would."""
        return {"past": {name: list(values) for name, values in self._past.items()}, "bad": dict(self._bad)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, list[float] | int]]) -> None:
        """Put back what ``state_dict`` gave."""
        self._past = {n: deque(v, maxlen=self._window) for n, v in state["past"].items() if isinstance(v, list)}
        self._bad = {name: count for name, count in state["bad"].items() if isinstance(count, int)}

    def _stop(self, step: int, what: str) -> None:
        steps = [saved for saved in saved_steps(self._checkpoints) if saved < step]
        good = f"the last good checkpoint is {step_folder(self._checkpoints, steps[-1])}" if steps else "no checkpoint was written before"
        raise TrainingStoppedError(f"stopped at step {step}: {what}; {good}; lower the learning rate, or use float32, and resume")


class Progress:
    """Says how far a run is, how fast, and when it will end; at most one line every ``every`` seconds."""

    def __init__(self, say: Callable[[str], None], total: int, done: int = 0, *, every: float = 10.0, window: int = 50) -> None:
        """``say`` prints a line; ``done`` steps of ``total`` were made before (resumed)."""
        self._say, self._total, self._every, self._start = say, total, every, done
        self._ticks: deque[tuple[int, float]] = deque([(done, time.monotonic())], maxlen=window + 1)
        self._said = -math.inf

    def step(self, step: int, figures: Mapping[str, float], items: int = 1) -> None:
        """``step`` is finished; ``items`` pictures (or prompts) went into it."""
        now = time.monotonic()
        self._ticks.append((step, now))
        if now - self._said < self._every and step != self._total:
            return
        self._said = now
        rate = self.rate
        left = (self._total - step) / rate if rate else math.inf
        parts = [f"step {step}/{self._total}", f"{rate * items:.3g} items/s", f"ETA {duration(left)}"]
        self._say("  ".join(parts + [f"{name} {value:.4g}" for name, value in figures.items()]))

    @property
    def rate(self) -> float:
        """Steps a second over the last steps."""
        (first, since), (last, now) = self._ticks[0], self._ticks[-1]
        return (last - first) / (now - since) if now > since else 0.0


def duration(seconds: float) -> str:
    """``1:02:03``; ``?`` when it cannot be told."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
