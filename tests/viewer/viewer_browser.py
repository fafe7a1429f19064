"""The study tests' headless Chromium with a wheel, for the viewer."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "study_browser"


def _helper() -> ModuleType:
    path = Path(__file__).parents[1] / "evaluation" / "study" / "browser.py"
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


_module = _helper()
find = _module.find


class ViewerBrowser(_module.Browser):  # type: ignore[name-defined,misc]
    """A page with the viewer."""

    def _note(self, event: dict[str, Any]) -> None:
        super()._note(event)
        if event["method"] == "Network.responseReceived" and event["params"]["response"]["status"] >= 400:
            self.complaints.append(f"{event['params']['response']['status']} {event['params']['response']['url']}")

    def wheel(self, x: int, y: int, clicks: int) -> None:
        """Turn the wheel above a point; positive zooms in."""
        for _ in range(abs(clicks)):
            self._send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120 if clicks > 0 else 120)

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press, move in steps, let go."""
        self._send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for step in range(1, 9):
            x, y = (start[i] + (end[i] - start[i]) * step / 8 for i in (0, 1))
            self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self._send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self._send("Input.insertText", text=text)

    def settle(self, seconds: float = 60) -> None:
        """Until nothing is awaited any more."""
        self.wait("Boolean(window.chainzoomPicture?.photo && chainzoomPicture.layers.made)", seconds)
        quiet = "chainzoomPicture.loader.all().length === 0 && document.getElementById('work').hidden"
        for _ in range(3):  # what is drawn may ask for more
            self.wait(quiet, seconds)
            self.run("void chainzoomPicture.viewer.forceRedraw()")
            time.sleep(0.15)
        self.wait(quiet, seconds)

    def canvas(self) -> str:
        """A hash of what the picture shows now."""
        return str(
            self.run(
                "(() => { const shown = chainzoomPicture.viewer.drawer.canvas;"
                " const copy = new OffscreenCanvas(shown.width, shown.height).getContext('2d', {willReadFrequently: true});"
                " copy.drawImage(shown, 0, 0); const d = copy.getImageData(0, 0, shown.width, shown.height).data;"
                " let h = 0; for (let i = 0; i < d.length; i += 1) h = (h * 31 + d[i]) | 0; return String(h); })()"
            )
        )
