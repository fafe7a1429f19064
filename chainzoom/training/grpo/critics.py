"""From the configuration's [rewards.NAME] tables to reward functions: critics with their model or server, and functions by name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chainzoom.errors import ChainzoomError, OptionError
from chainzoom.models import Store
from chainzoom.training.grpo import rewards
from chainzoom.training.grpo.rewards import Judge, Reward

BUILT_IN: dict[str, tuple[Any, float]] = {
    "critic": (rewards.critic, 1.0),
    "phrase": (rewards.phrase, 0.5),
    "repetition": (rewards.repetition, 0.5),
}
"""Names that need no ``function``, with the paper's weights."""

_SERVED = ("url", "name", "key_env", "timeout", "retries", "concurrency")
_LOCAL = ("model", "device", "dtype", "quantise", "batch_size", "revision")


@dataclass(frozen=True, slots=True)
class Weighted:
    """A reward as the trainer uses it; ``weight`` 0: it is logged and teaches nothing."""

    name: str
    weight: float
    function: Reward


def build_rewards(tables: Mapping[str, Mapping[str, Any]]) -> list[Weighted]:
    """All rewards of a configuration; servers are asked whether they are there, local critics are loaded, the cheap checks first.

    Raises OptionError for a table that makes no sense, BackendError for a server that does not answer, WeightsError, MissingExtraError.
    """
    plans = [_plan(name, dict(table)) for name, table in tables.items()]
    if not any(weight for _, weight, _, _ in plans):
        raise OptionError("every reward has weight 0, so there is nothing to learn; give one a weight")
    # What takes long to load comes last.
    made = {
        name: Weighted(name, weight, partial(function, **_bound(name, function, options)))
        for name, weight, function, options in sorted(plans, key=lambda plan: plan[2] is rewards.critic)
    }
    return [made[name] for name in tables]


def build_judge(options: Mapping[str, Any]) -> Judge:
    """A critic that answers: ``url`` of an OpenAI-compatible server (with ``name`` of the model), or ``model``, a folder or hub name."""
    allowed = _SERVED if "url" in options else _LOCAL
    for key in options:
        if key not in allowed:
            raise OptionError(f"rewards.critic: unknown key '{key}'; with {allowed[0]} it may have {', '.join((*allowed, 'weight'))}")
    if "url" in options:
        from chainzoom.prompters.remote import Remote

        given = dict(options)
        remote = _made(Remote, given.pop("url"), given.pop("name", None), max_new_tokens=8, **given)
        remote.check()
        return remote.answers  # type: ignore[no-any-return]
    from chainzoom.prompters.vlm import VLM

    given = Store().resolve_options(options)
    local = _made(VLM.from_pretrained, given.pop("model"), max_new_tokens=8, **given)
    return local.answers  # type: ignore[no-any-return]


def load_function(place: str) -> Any:
    """The function at ``module:function`` or ``path/to/file.py:function``. Raises OptionError."""
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name:
        raise OptionError(f"function must look like 'module:function' or 'path/to/file.py:function', not {place!r}")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ChainzoomError:
        raise
    except Exception as error:
        raise OptionError(f"cannot load {place}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise OptionError(f"cannot load {place}: {where} has no function {name}")
    return function


def _plan(name: str, table: dict[str, Any]) -> tuple[str, float, Any, dict[str, Any]]:
    """(name, weight, function, options) of a table, with nothing loaded but the module of the function."""
    place = table.pop("function", None)
    if place is None and name not in BUILT_IN:
        raise OptionError(f"rewards.{name} needs function = 'module:function'; without one there are {', '.join(BUILT_IN)}")
    function, weight = BUILT_IN[name] if place is None else (load_function(place), 1.0)
    weight = table.pop("weight", weight)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) < float("inf"):
        raise OptionError(f"rewards.{name}.weight must be a number, not {weight!r}")
    if function is rewards.critic and not {"url", "model"} & table.keys():
        raise OptionError(f"rewards.{name} needs a critic: url of an OpenAI-compatible server, or model (a folder or hub name)")
    return name, float(weight), function, table


def _bound(name: str, function: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options that the function takes, the critic's turned into its judge. Raises OptionError for others."""
    if function is rewards.critic:
        return {"judge": build_judge(options)}
    if function is rewards.repetition and (type(options.get("n", 3)) is not int or options.get("n", 3) < 1):
        raise OptionError(f"rewards.{name}.n must be a whole number of at least 1, not {options['n']!r}")
    if function is rewards.phrase:
        phrases = options.get("phrases", list(rewards.PHRASES))
        if not isinstance(phrases, list) or not all(isinstance(one, str) and one.strip() for one in phrases):
            raise OptionError(f"rewards.{name}.phrases must be a list of words, not {phrases!r}")
    try:
        inspect.signature(function).bind([], **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(function).parameters)[1:]) or "no options"
        raise OptionError(f"rewards.{name}: {error}; {function.__name__} takes {known}") from None
    return options


def _made(make: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return make(*arguments, **options)
    except (TypeError, AttributeError) as error:
        raise OptionError(f"rewards.critic: an option has the wrong type: {error}") from None


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise OptionError(f"there is no file {path} to take a reward from")
    name = f"chainzoom_reward_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
