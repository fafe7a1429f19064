"""Build hook: the viewer's page needs OpenSeadragon, which is fetched when a package is built and not kept in the repository."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AssetsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetch and check the pinned npm package, unless its files are there or the install is an editable one.

    Without npm the package is built all the same, and ``chainzoom view`` says how to get the file.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are gathered."""
        if version == "editable":
            return
        vendor = runpy.run_path(str(Path(self.root) / "chainzoom" / "viewer" / "vendor.py"))
        if not vendor["missing"]():
            return
        try:
            vendor["fetch"]()
        except vendor["VendorError"] as error:
            self.app.display_warning(f"the viewer's page is built without its map: {error}")
