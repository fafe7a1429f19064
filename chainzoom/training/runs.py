"""A training run on disk: its folder, its log, and the state of every random generator, so that a killed run goes on as if undisturbed.

RUN/
  config.toml       the configuration it was started with
  log.jsonl         one JSON object a logged step: {"step": 10, "loss/l2": 0.01, ...}
  tensorboard/      the same figures, pictures and texts
  checkpoints/      step-000100/ ...: everything that resuming needs
  export/           step-000100/ ...: weights for the backbones and prompters
  pictures/         validation pictures
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from chainzoom.atomic import output_error, remove_leftovers, write_bytes
from chainzoom.errors import MissingExtraError, OptionError, OutputError
from chainzoom.images import Image, to_uint8

CONFIG, LOG, CHECKPOINTS, EXPORT = "config.toml", "log.jsonl", "checkpoints", "export"
_STEP = re.compile(r"^step-(\d{6,})$")
_UNFINISHED = ".unfinished-"


def check_run(folder: Path, *, resume: bool) -> None:
    """Raise OutputError when a run is there already and ``resume`` is false, or there is none and it is true; nothing is written."""
    there = (folder / CONFIG).exists()
    if there and not resume:
        raise OutputError(f"{folder} holds a run already; continue it with --resume or choose another folder")
    if resume and not there:
        raise OutputError(f"{folder} holds no run to resume; start it without --resume")


def open_run(folder: Path, config: str, *, resume: bool) -> None:
    """Create a run's folder, or check that there is one to resume; keep ``config`` (TOML text) in it.

    Raises OutputError as ``check_run`` does. Whether the configurations agree is for the caller to say (``check_same``).
    """
    check_run(folder, resume=resume)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    remove_leftovers(folder)
    write_bytes(folder / CONFIG, config.encode())


def step_folder(parent: Path, step: int) -> Path:
    """``parent``/step-000100."""
    return parent / f"step-{step:06d}"


def saved_steps(parent: Path) -> list[int]:
    """Steps of the finished ``step-*`` folders, oldest first; what a killed run left half-written is removed."""
    if not parent.is_dir():
        return []
    for path in parent.iterdir():
        if path.name.startswith(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
    return sorted(int(match[1]) for path in parent.iterdir() if (match := _STEP.match(path.name)))


def keep_last(parent: Path, count: int) -> None:
    """Remove all but the newest ``count`` step folders."""
    for step in saved_steps(parent)[: -count or None] if count > 0 else []:
        shutil.rmtree(step_folder(parent, step), ignore_errors=True)


class unfinished_step:  # noqa: N801 - used as a function
    """Context manager: yields a folder to fill, which takes the name ``step-...`` only when all of it was written."""

    def __init__(self, parent: Path, step: int) -> None:
        self._target, self._scratch = step_folder(parent, step), parent / f"{_UNFINISHED}{step:06d}"

    def __enter__(self) -> Path:
        try:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch.mkdir(parents=True)
        except OSError as error:
            raise output_error(self._scratch, error) from error
        return self._scratch

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise output_error(self._target, error) from error
            return
        shutil.rmtree(self._target, ignore_errors=True)
        self._scratch.replace(self._target)


def rng_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's global generators (all CUDA devices too), readable with ``weights_only``."""
    torch = _import("torch", "training")
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Put back what ``rng_state`` gave."""
    torch = _import("torch", "training")
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    _import("torch", "training").manual_seed(seed)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """What a run logged, oldest first; a line that a killed run cut short is left out."""
    file = folder / LOG
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


class Writer:
    """Figures, pictures and texts of a run: log.jsonl and TensorBoard always, Weights & Biases when asked. Close it at the end.

    When a run is resumed at ``step``, what was logged after that step is forgotten, so that no figure is there twice.
    """

    def __init__(self, folder: Path, *, step: int = 0, wandb: Mapping[str, Any] | None = None) -> None:
        """``wandb``: arguments of ``wandb.init`` (project, name, mode, ...); None: off. Raises MissingExtraError, OptionError."""
        if wandb is not None and find_spec("wandb") is None:
            raise OptionError("logging to Weights & Biases was asked for, but wandb is not installed: pip install wandb")
        _import("tensorboard", "training")
        board = _import("torch.utils.tensorboard", "training")
        kept = [entry for entry in read_log(folder) if entry.get("step", 0) <= step] if step else []
        write_bytes(folder / LOG, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        self._log = (folder / LOG).open("a", encoding="utf-8")
        self._board = board.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        self._wandb: Any = None
        if wandb is not None:
            self._wandb = import_module("wandb").init(
                dir=str(folder), resume="allow", id=wandb.get("id", _wandb_id(folder)), **_without(wandb, "id")
            )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log figures by name (``loss/l2``); on disk at once."""
        self._log.write(json.dumps({"step": step, **{name: float(value) for name, value in values.items()}}) + "\n")
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image) -> None:
        """Log a picture (H, W, 3) in [0, 1]."""
        pixels = to_uint8(image)
        self._board.add_image(name, pixels, step, dataformats="HWC")
        if self._wandb is not None:
            self._wandb.log({name: import_module("wandb").Image(pixels)}, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """Log words, e.g. examples before and after."""
        self._board.add_text(name, text, step)
        if self._wandb is not None:
            self._wandb.log({name: text}, step=step)

    def close(self) -> None:
        """Flush and close everything."""
        self._log.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _import(name: str, needed_by: str) -> Any:
    """A package of the extra ``train``. Raises MissingExtraError."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise MissingExtraError(needed_by, name.partition(".")[0], "train") from None


def _wandb_id(folder: Path) -> str:
    """The same run on the server when a run is resumed."""
    return sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _without(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """OptionError naming the first setting that differs between a checkpoint's configuration and the present one."""
    for key in sorted(saved.keys() | now.keys()):
        if saved.get(key) != now.get(key):
            raise OptionError(
                f"{where} was made with {key} = {saved.get(key)!r}, the configuration now says {now.get(key)!r}; "
                "put it back or start a new run"
            )
