"""Every exception that chainzoom raises on purpose.

    ChainzoomError
    ├── InputError          the user's image, option or file is not usable (exit code 2)
    │   ├── ImageError      a picture cannot be read, or is outside the limits
    │   ├── OptionError     an argument has a value that makes no sense
    │   ├── PresetError     a preset is unknown, malformed or has unknown keys
    │   ├── OutputError     the output folder cannot be used, or the disk is full
    │   └── WeightsError    a weight file is missing, truncated, wrong or unsafe
    ├── MissingExtraError   an optional dependency is not installed; carries the install line
    └── BackendError        a backbone or prompter failed while running

Each message says what was expected, what came and what to do, on one line.
"""

from __future__ import annotations


class ChainzoomError(Exception):
    """Base of all chainzoom errors; the command line prints the message and exits with ``exit_code``."""

    exit_code = 2


class InputError(ChainzoomError):
    """Something the user gave cannot be used."""


class ImageError(InputError):
    """A picture cannot be read, or is outside the limits."""


class OptionError(InputError):
    """An argument has a value that makes no sense."""


class PresetError(InputError):
    """A preset is unknown, malformed or has unknown keys."""


class OutputError(InputError):
    """The output folder cannot be used, or the disk is full."""


class WeightsError(InputError):
    """A weight file is missing, truncated, wrong or unsafe."""


class MissingExtraError(ChainzoomError):
    """An optional dependency is not installed."""

    def __init__(self, needed_by: str, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{needed_by} needs {package}, which is not installed: pip install 'chainzoom[{extra}]'")


class BackendError(ChainzoomError):
    """A backbone or prompter failed while running."""

    exit_code = 1
