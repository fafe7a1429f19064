"""What every part that runs on torch shares, prompter or backbone: devices, full memory, reading pickles, quiet loading.

torch and what builds on it are imported by the functions that need them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainzoom.errors import OptionError, WeightsError

if TYPE_CHECKING:
    import torch


def parse_device(name: str) -> torch.device:
    """A device that exists here: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ...; ``auto`` is the GPU when there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(f"device {name!r} is not known to torch; use auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device; use cpu")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether this is a device saying that its memory is full (torch's own class, or the bare one that some devices raise)."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


def existing(path: str | os.PathLike[str], what: str, remedy: str = "check the path, or fetch it with 'chainzoom models fetch'") -> Path:
    """The path when something is there; WeightsError naming it otherwise."""
    found = Path(path)
    if not found.exists():
        raise WeightsError(f"{what} {found} is missing; {remedy}")
    return found


def read_pickle(path: str | os.PathLike[str], what: str, *, mapped: bool = False) -> Any:
    """A torch pickle read with ``weights_only``: tensors, numbers, strings and containers. Anything else in it is an error, never run.

    ``mapped`` leaves tensors in the file until they are copied, so that gigabytes are not held twice; the file must stay as it is.
    """
    import torch

    file = existing(path, what)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # said of foreign pickles, which end as an error below
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        if re.search("unsupported (global|class)|allowed global", str(error), re.IGNORECASE):
            raise WeightsError(
                f"{what} {file} holds code, or something else than tensors; nothing of it was run; get the file from its authors"
            ) from error
        raise WeightsError(f"{what} {file} is not a readable torch file (truncated, or something else); fetch it again") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, UnicodeDecodeError) as error:
        raise WeightsError(f"{what} {file} is truncated or not a torch file; fetch it again") from error


def dtype_keyword(module: str = "transformers") -> str:
    """What ``from_pretrained`` calls the precision: transformers renamed ``torch_dtype`` to ``dtype`` in 4.56."""
    if module.partition(".")[0] == "diffusers":
        return "torch_dtype"
    version = importlib.import_module("transformers").__version__
    return "dtype" if tuple(int(part) for part in version.split(".")[:2]) >= (4, 56) else "torch_dtype"


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars or chatter from diffusers and transformers while weights load; their own settings come back afterwards."""
    loggers = [
        importlib.import_module(f"{name}.utils.logging")
        for name in ("transformers", "diffusers")
        if importlib.util.find_spec(name) is not None
    ]
    before = [(module, module.get_verbosity(), module.is_progress_bar_enabled()) for module in loggers]
    for module in loggers:
        module.set_verbosity_error()
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, verbosity, bars in before:
            module.set_verbosity(verbosity)
            if bars:
                module.enable_progress_bar()
