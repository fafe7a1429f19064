"""Checkpoints of a run: trained weights, optimisers, random generators, guard and data position, so that resuming changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from chainzoom.errors import OutputError, WeightsError
from chainzoom.torch_io import read_pickle
from chainzoom.training.loop import Guard
from chainzoom.training.runs import CHECKPOINTS, check_same, keep_last, restore_rng, rng_state, saved_steps, step_folder, unfinished_step
from chainzoom.training.sr.base import Recipe
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.exports import write_tensors
from chainzoom.training.sr.networks import fill, whole

STATE = "state.pt"


def save(folder: Path, config: Config, step: int, recipe: Recipe, optimisers: Mapping[str, Any], guard: Guard, world: Any) -> None:
    """Write ``checkpoints/step-...``; every process takes part, the first one writes. ``world``: the accelerator."""
    engine = deepspeed_engine(world)
    kept = {name: whole(parameter) for name, parameter in recipe.kept().items()}
    states = {} if engine else {name: _optimiser_state(optimiser) for name, optimiser in optimisers.items()}
    generators = gathered(rng_state(), world)
    parent = folder / CHECKPOINTS
    if world.is_main_process:
        content = {
            "step": step,
            "world": world.num_processes,
            "config": config.essence(),
            "weights": kept,
            "optimisers": states,
            "rng": generators,
            "guard": guard.state_dict(),
        }
        with unfinished_step(parent, step) as scratch:
            write_tensors(scratch / STATE, content)
        keep_last(parent, config.keep)
    world.wait_for_everyone()
    if engine:
        engine.save_checkpoint(str(step_folder(parent, step)), tag="deepspeed")


def load(folder: Path, config: Config, recipe: Recipe, optimisers: Mapping[str, Any], guard: Guard, world: Any) -> int:
    """Put the newest checkpoint back and return the step to go on from.

    Raises OutputError when there is none, OptionError when the configuration or the number of processes is another.
    """
    steps = saved_steps(folder / CHECKPOINTS)
    if not steps:
        raise OutputError(f"{folder} holds no checkpoint yet; remove the folder and start without --resume")
    place = step_folder(folder / CHECKPOINTS, steps[-1])
    state = read_pickle(place / STATE, "checkpoint")
    check_same({**state["config"], "processes": state["world"]}, {**config.essence(), "processes": world.num_processes}, place)
    own = recipe.kept()
    if own.keys() != state["weights"].keys():
        raise WeightsError(f"{place} holds other weights than this recipe trains; start a new run")
    for name, parameter in own.items():
        fill(parameter, state["weights"][name])
    engine = deepspeed_engine(world)
    if engine:
        engine.load_checkpoint(str(place), tag="deepspeed")
    for name, optimiser in {} if engine else optimisers.items():
        _load_optimiser(optimiser, state["optimisers"][name])
    guard.load_state_dict(state["guard"])
    restore_rng(state["rng"][world.process_index])
    return int(state["step"])


def deepspeed_engine(world: Any) -> Any:
    """The engine that holds model and optimiser when DeepSpeed runs the show, else None."""
    wrapper = getattr(world, "deepspeed_engine_wrapped", None)
    return wrapper.engine if wrapper is not None else None


def gathered(item: Any, world: Any) -> list[Any]:
    """One item of each process, in order."""
    if world.num_processes == 1:
        return [item]
    items: list[Any] = [None] * world.num_processes
    torch.distributed.all_gather_object(items, item)
    return items


def _optimiser_state(optimiser: Any) -> dict[str, Any]:
    """The state of every parameter by its number, with sharded tensors gathered."""
    inner = _inner(optimiser)
    state = [
        {key: whole(value) if torch.is_tensor(value) else value for key, value in inner.state.get(parameter, {}).items()}
        for parameter in _parameters(inner)
    ]
    groups = [{key: value for key, value in group.items() if key != "params"} for group in inner.param_groups]
    return {"state": state, "groups": [{k: list(v) if isinstance(v, tuple) else v for k, v in group.items()} for group in groups]}


def _load_optimiser(optimiser: Any, saved: Mapping[str, Any]) -> None:
    inner = _inner(optimiser)
    for parameter, state in zip(_parameters(inner), saved["state"], strict=True):
        inner.state[parameter] = {key: _like(parameter, value) if torch.is_tensor(value) else value for key, value in state.items()}
    for group, values in zip(inner.param_groups, saved["groups"], strict=True):
        group.update({key: tuple(value) if key == "betas" else value for key, value in values.items()})


def _like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A saved state tensor where its parameter is; step counters stay on the CPU, as AdamW keeps them."""
    if value.shape != parameter.shape:
        return value.to(parameter.device) if value.dim() else value
    target = torch.empty_like(parameter, dtype=value.dtype)
    fill(target, value)
    return target.detach()


def _inner(optimiser: Any) -> Any:
    return getattr(optimiser, "optimizer", optimiser)


def _parameters(optimiser: Any) -> Sequence[torch.Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
