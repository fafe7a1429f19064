"""Build hook: the viewer's page needs OpenSeadragon, which is fetched when a package is built and not kept in the repository."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AssetsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetch and check the pinned npm package, unless its files are there or the install is an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are gathered."""
        if version == "editable":
            return
        vendor = runpy.run_path(str(Path(self.root) / "chainzoom" / "viewer" / "vendor.py"))
        if vendor["missing"]():
            vendor["fetch"]()
