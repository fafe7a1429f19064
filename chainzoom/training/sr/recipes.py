"""The recipes by name."""

from __future__ import annotations

from importlib import import_module

import torch

from chainzoom.training.sr.base import Recipe
from chainzoom.training.sr.config import Config

RECIPES = {
    "osediff_sd3": "chainzoom.training.sr.sd3:OSEDiffSD3Recipe",
    "osediff_sd21": "chainzoom.training.sr.sd21:OSEDiffSD21Recipe",
    "oraclezoom": "chainzoom.training.sr.oraclezoom:OracleZoomRecipe",
}


def build_recipe(config: Config, device: torch.device, *, share: bool = True) -> Recipe:
    """Load the networks of a configuration on the CPU. Raises WeightsError, OptionError, MissingExtraError."""
    module, name = RECIPES[config.recipe].split(":")
    recipe: Recipe = getattr(import_module(module), name)(config, device, share=share)
    return recipe
