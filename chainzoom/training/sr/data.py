"""Training samples by number: sample ``n`` of a run is the same whatever came before, so a data position is one integer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from chainzoom.errors import ImageError
from chainzoom.images import Image, resize
from chainzoom.seeds import derive
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.degradation import degrade
from chainzoom.training.sr.sources import Entry, enlarged

VIEW = 512
"""Longest side of what prompters see of a whole photo."""
_TRIES = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draw:
    """Sample ``number`` of the run, with the degradation of its stage."""

    number: int
    degradation: str


@dataclass(slots=True)
class Sample:
    """A training pair and what its prompt is written from.

    gt, lq  (3, H, W) in [0, 1]; lq is None while it is still to be made on the device
    seed    of the degradation
    name    of the picture; view: what the prompter sees (h, w, 3), or None where a caption serves
    """

    gt: torch.Tensor
    lq: torch.Tensor | None
    degradation: str
    seed: int
    name: str
    caption: str
    view: Image | None


class Samples(torch.utils.data.Dataset[Sample]):
    """Crops with their degraded form, by Draw; runs in worker processes."""

    def __init__(self, entries: Sequence[Entry], config: Config) -> None:
        self._entries, self._config = list(entries), config

    def __getitem__(self, draw: Draw) -> Sample:
        config = self._config
        entry, image, rng = self._photo(draw.number)
        photo = enlarged(image, config.data.crop)
        crop = random_crop(photo, config.data.crop, rng, flip=config.data.flip)
        gt = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
        seed = derive(config.seed, "degradation", draw.number)
        lq = degrade(gt, draw.degradation, seed) if config.data.degrade_on == "workers" else None
        seen = crop if config.prompts.sees == "crop" else shown(photo)
        view = None if config.prompts.name in ("null", "sidecar") else seen
        name = entry.name if config.prompts.sees == "photo" else f"{entry.name}#{draw.number}"
        return Sample(gt, lq, draw.degradation, seed, name, entry.caption() if config.prompts.name == "sidecar" else "", view)

    def _photo(self, number: int) -> tuple[Entry, Image, np.random.Generator]:
        """The picture of a sample; an unreadable one is replaced, always by the same other one."""
        count = len(self._entries)
        epoch, place = divmod(number, count)
        index = int(order(self._config.seed, epoch, count)[place])
        for attempt in range(_TRIES):
            rng = np.random.default_rng(derive(self._config.seed, "sample", number, attempt))
            entry = self._entries[index]
            try:
                return entry, entry.read(), rng
            except ImageError as error:
                _log.warning("%s; another picture is used instead", error)
                index = int(rng.integers(count))
        raise ImageError(f"{_TRIES} pictures in a row could not be read, the last was {entry.name}; check the sources")


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> np.ndarray[Any, Any]:
    """The order of the pictures in an epoch: each once."""
    return np.random.default_rng(derive(seed, "epoch", epoch)).permutation(count)


def random_crop(image: Image, side: int, rng: np.random.Generator, *, flip: bool) -> Image:
    """A random square, mirrored half of the time when ``flip``."""
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    crop = image[top : top + side, left : left + side]
    return crop[:, ::-1] if flip and rng.random() < 0.5 else crop


def centre_crop(image: Image, side: int) -> Image:
    """The square in the middle."""
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def shown(photo: Image) -> Image:
    """The whole photo, small enough to look at."""
    height, width = photo.shape[:2]
    factor = VIEW / max(height, width)
    return photo if factor >= 1 else np.clip(resize(photo, (max(1, round(width * factor)), max(1, round(height * factor)))), 0, 1)


class Batches(torch.utils.data.Sampler[list[Draw]]):
    """The batches of one process from a data position on, to the end of the run.

    Micro-step ``m`` of process ``rank`` holds the samples (m * world + rank) * batch and following.
    """

    def __init__(self, config: Config, start: int, rank: int, world: int) -> None:
        """``start``: micro-steps that are done."""
        self._config, self._start, self._rank, self._world = config, start, rank, world

    def __len__(self) -> int:
        return self._config.steps * self._config.accumulation - self._start

    def __iter__(self) -> Iterator[list[Draw]]:
        config = self._config
        for micro in range(self._start, config.steps * config.accumulation):
            first = (micro * self._world + self._rank) * config.batch
            degradation = config.degradation_at(micro // config.accumulation)
            yield [Draw(first + n, degradation) for n in range(config.batch)]


def loader(entries: Sequence[Entry], config: Config, start: int, rank: int, world: int) -> Any:
    """Batches of samples from a data position on."""
    workers = config.data.workers
    return torch.utils.data.DataLoader(
        Samples(entries, config),
        batch_sampler=Batches(config, start, rank, world),
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        multiprocessing_context="spawn" if workers else None,
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
