"""TOML tables as dataclasses: every key known and of the right type, or one line that says what is wrong and where."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from chainzoom.errors import OptionError

T = TypeVar("T")


def parse(kind: type[T], text: str) -> T:
    """TOML text as a dataclass. Raises OptionError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"it is no valid TOML: {error}") from None
    made: T = read(kind, data, "")
    return made


def read(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind``: a dataclass, tuple[X, ...], dict[str, X], Literal or a plain type; ``where`` is its place in the file."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _table(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise OptionError(f"{where} must be a list, not {value!r}")
        return tuple(read(get_args(kind)[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise OptionError(f"{where} must be a table, not {value!r}")
        return {key: read(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        if value not in get_args(kind):
            raise OptionError(f"{where} must be one of {', '.join(get_args(kind))}, not {value!r}")
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise OptionError(f"{where} must be of type {kind.__name__}, not {value!r}")
    return value


def _table(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise OptionError(f"{where} must be a table, not {value!r}")
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    for key in value:
        if key not in names:
            raise OptionError(f"unknown key '{key}' in {where or 'the top level'}; known are {', '.join(names)}")
    dot = f"{where}." if where else ""
    for item in fields(kind):
        if item.name not in value and item.default is MISSING and item.default_factory is MISSING:
            raise OptionError(f"{dot}{item.name} is missing")
    return kind(**{key: read(hints[key], given, dot + key) for key, given in value.items()})
