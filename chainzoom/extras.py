"""Importing optional packages on use, with the install line when one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from chainzoom.errors import MissingExtraError


def need(module: str, needed_by: str, package: str | None = None, extra: str = "vlm") -> Any:
    """The imported module; MissingExtraError with the install line of ``extra`` when ``package`` (default: the module) is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            package = error.name.split(".")[0]
        missing = package or module.split(".")[0]
    raise MissingExtraError(needed_by, missing, extra)
