"""Weights that a user manages: what exists and under which licence, where it lies, how it gets here, whether it is still whole.

Presets name weights as ``models:NAME`` or ``models:NAME/path/inside``. Nothing here touches the network but ``fetch``.
"""

from chainzoom.models.catalogue import Model, all_models, find_model
from chainzoom.models.store import PREFIX, Found, Store, names_in

__all__ = ["PREFIX", "Found", "Model", "Store", "all_models", "find_model", "names_in"]
