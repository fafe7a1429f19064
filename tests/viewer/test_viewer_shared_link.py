"""A share link opened by somebody else: another browser profile, another server with an empty cache, the same place and pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from chainzoom.viewer import vendor
from tests.viewer import viewer_fakes
from tests.viewer.viewer_browser import ViewerBrowser, find
from tests.viewer.viewer_server import Running, cloth, running

pytestmark = [
    pytest.mark.skipif(find() is None, reason="no Chromium here"),
    pytest.mark.skipif(vendor.missing(), reason=f"OpenSeadragon is not here: {vendor.HOW}"),
]
TILES = (
    "JSON.stringify([...new Set(performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)"
    ".filter(path => /^.api.views.*tiles/.test(path)))].sort())"
)


def visit(link: str, folder: Path, server: Running) -> tuple[str, str, dict[str, bytes]]:
    """Canvas, place, and the bytes of the tiles that the page asked for."""
    with ViewerBrowser(folder / "profile", folder / "downloads", width=800, height=560) as browser:
        browser.open(link)
        browser.settle()
        if "prompt" not in link:
            browser.click("#prompt")
            browser.type("red wool")
            browser.press("Enter")
            browser.wait("location.hash.includes('red+wool')")
            browser.wait("Boolean(document.getElementById('seedhint').innerText)")
            browser.open(browser.run("location.href"))
            browser.settle()
        tiles = {path: server.ask("GET", path)[2] for path in json.loads(browser.run(TILES))}
        assert browser.complaints == []
        return browser.canvas(), browser.run("location.hash"), tiles


def test_another_person_sees_the_same(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    cloth(tmp_path / "photos" / "cloth.png")
    cloth(tmp_path / "photos" / "other.png", 90, 120)
    found = []
    link = ""
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(tmp_path / "photos", folder / "cache", viewer_fakes.quick) as server:
            link = link or f"/#photo={server.photo()}&x=0.3512&y=0.4711&z=53.7&seed=7&consistency=0.5"
            found.append(visit(server.address + link, folder, server))
            link = "/" + found[0][1]
    (canvas, place, tiles), (again, there, theirs) = found
    assert "prompt=red+wool" in place
    assert there == place
    assert len(tiles) >= 4
    assert theirs == tiles
    assert again == canvas
