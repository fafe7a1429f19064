"""The study tests' headless Chromium with a wheel, for the viewer."""

from __future__ import annotations

import importlib.util
import json
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

    def touch(self, *fingers: list[tuple[float, float]]) -> None:
        """Fingers go down together, move along their paths (of equal lengths) and are lifted."""
        self._send("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        for step, places in enumerate(zip(*fingers, strict=True)):
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            self._send("Input.dispatchTouchEvent", type="touchMove" if step else "touchStart", touchPoints=points)
        self._send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def click_in(self, selector: str, x: float, y: float) -> None:
        """A real click at a share of an element's width and height."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{place}.scrollIntoView({{block: 'center'}})")
        left, top, wide, high = self.run(
            f"(() => {{ const b = {place}.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=left + x * wide, y=top + y * high, button="left", clickCount=1)

    def spoken(self) -> list[dict[str, Any]]:
        """What screen readers see: role, name, value, states and what is inside, of everything that is not hidden from them."""
        nodes = self._send("Accessibility.getFullAXTree")["nodes"]
        names = {one["nodeId"]: one.get("name", {}).get("value", "") for one in nodes}
        return [
            {
                "role": one.get("role", {}).get("value", ""),
                "name": one.get("name", {}).get("value", ""),
                "value": one.get("value", {}).get("value"),
                "inside": " ".join(filter(None, (names.get(child, "") for child in one.get("childIds", [])))),
                **{state["name"]: state["value"].get("value") for state in one.get("properties", [])},
            }
            for one in nodes
            if not one.get("ignored")
        ]

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self._send("Input.insertText", text=text)

    def settle(self, seconds: float = 150) -> None:
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
