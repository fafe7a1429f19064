"""The viewer's page under fingers, keys and screen readers, in a real headless Chromium."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from chainzoom.viewer import vendor
from tests.viewer.viewer_browser import ViewerBrowser, find
from tests.viewer.viewer_server import Running

pytestmark = [
    pytest.mark.skipif(find() is None, reason="no Chromium here"),
    pytest.mark.skipif(vendor.missing(), reason=f"OpenSeadragon is not here: {vendor.HOW}"),
]


def place(browser: ViewerBrowser) -> dict[str, float]:
    found: dict[str, float] = json.loads(browser.run("JSON.stringify(chainzoomPicture.place())"))
    return found


def opened(page_server: Running, browser: ViewerBrowser, z: float = 16, **more: Any) -> None:
    told = "".join(f"&{key}={value}" for key, value in more.items())
    browser.open(f"{page_server.address}/#photo={page_server.photo()}&x=0.4&y=0.5&z={z}{told}")
    browser.settle()


def path(start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> list[tuple[float, float]]:
    return [(start[0] + (end[0] - start[0]) * k / steps, start[1] + (end[1] - start[1]) * k / steps) for k in range(steps + 1)]


def test_a_finger_moves_the_picture(page_server: Running, browser: ViewerBrowser) -> None:
    browser.screen(390, 780, phone=True)
    opened(page_server, browser)
    before = place(browser)
    browser.touch(path((250, 400), (150, 340)))
    time.sleep(0.5)
    after = place(browser)
    assert after["z"] == pytest.approx(before["z"])
    # 100 and 60 CSS pixels at two device pixels each, and perhaps some more for the swing of the finger.
    assert (after["x"] - before["x"]) * 320 * before["z"] >= 0.9 * 200
    assert (after["y"] - before["y"]) * 200 * before["z"] >= 0.9 * 120


def test_two_fingers_zoom(page_server: Running, browser: ViewerBrowser) -> None:
    browser.screen(390, 780, phone=True)
    opened(page_server, browser, 4)
    before = place(browser)
    browser.touch(path((195, 380), (195, 260)), path((195, 420), (195, 540)))
    browser.wait(f"chainzoomPicture.place().z > {3 * before['z']}")
    time.sleep(0.5)
    apart = place(browser)
    assert abs(apart["x"] - before["x"]) < 0.02
    browser.touch(path((195, 260), (195, 380)), path((195, 540), (195, 420)))
    browser.wait(f"chainzoomPicture.place().z < {apart['z'] / 3}")


def test_a_phone_shows_the_picture_whole(page_server: Running, browser: ViewerBrowser, tmp_path: Path) -> None:
    browser.screen(390, 780, phone=True)
    opened(page_server, browser)
    stage = browser.run("(() => { const b = document.getElementById('stage').getBoundingClientRect(); return [b.width, b.height]; })()")
    assert stage[0] == 390
    assert stage[1] > 600
    outside = (
        "[...document.querySelectorAll('#viewer .float, #viewer button')].filter(one => one.offsetParent)"
        ".filter(one => { const b = one.getBoundingClientRect(); return b.left < 0 || b.right > 390 || b.top < 0 || b.bottom > 780; })"
        ".map(one => one.id)"
    )
    assert browser.run(outside) == []
    browser.picture(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 20_000


def test_a_click_on_the_map_goes_there(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser)
    shown = "(() => { const b = document.getElementById('mapimage').getBoundingClientRect(); return [b.width, b.height]; })()"
    wide, high = browser.run(shown)
    share = min(wide / 320, high / 200)  # the photo is fitted into the map
    browser.click_in("#mapimage", 0.5 + 0.25 * 320 * share / wide, 0.5 - 0.2 * 200 * share / high)
    browser.wait("Math.abs(chainzoomPicture.place().x - 0.75) < 0.01 && Math.abs(chainzoomPicture.place().y - 0.3) < 0.01")
    assert place(browser)["z"] == pytest.approx(16, rel=0.01)
    browser.settle()


def test_the_seed_makes_another_picture(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser)
    browser.wait("!document.getElementById('seed').disabled")
    before = browser.canvas()
    browser.run("document.getElementById('seed').select()")
    browser.type("3")
    browser.press("Enter")
    browser.wait("location.hash.includes('seed=3')")
    browser.wait("document.querySelector('#seedhint').innerText.length > 0")
    changed(browser, before)
    browser.run("document.getElementById('seed').select()")
    browser.type("0")
    browser.press("Enter")
    browser.wait("!location.hash.includes('seed=')")
    back(browser, before)


def test_consistency_makes_another_picture(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser)
    browser.wait("document.getElementById('consout').innerText === '100 %'")
    before = browser.canvas()
    browser.run("document.getElementById('consistency').focus()")
    for _ in range(3):
        browser.press("ArrowDown")
    browser.wait("location.hash.includes('consistency=0.85')")
    assert browser.run("document.getElementById('consout').innerText") == "85 %"
    changed(browser, before)


def changed(browser: ViewerBrowser, before: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while browser.canvas() == before:
        assert time.monotonic() < end, "the picture stays the same"
        browser.settle()


def back(browser: ViewerBrowser, before: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while browser.canvas() != before:
        assert time.monotonic() < end, "the picture does not come back"
        browser.settle()


def test_light_and_dark(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser, 4)
    browser.run("localStorage.removeItem('chainzoom-theme')")
    browser.reload()
    browser.settle()
    colour = "getComputedStyle(document.getElementById('controls')).backgroundColor"
    light = browser.run(colour)
    browser.click("#theme")
    dark = browser.run(colour)
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    assert dark != light
    browser.reload()
    browser.settle()
    assert browser.run(colour) == dark
    browser.click("#theme")
    assert browser.run(colour) == light
    browser.run("localStorage.removeItem('chainzoom-theme')")
    browser.screen(1000, 640, dark=True)
    browser.reload()
    browser.settle()
    assert browser.run(colour) == dark


def test_everything_is_reached_by_keys(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser, 4)
    here = browser.run("location.hash")
    browser.run("document.activeElement.blur()")
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    browser.press("Enter")
    browser.wait("document.activeElement.id === 'controls'")
    assert browser.run("location.hash") == here, "the way past the picture leads away from it"
    wanted = {"share", "save", "film", "record", "theme", "help", "prompt", "mix", "compare", "preset", "consistency", "seed"}
    seen = set()
    for _ in range(40):
        browser.press("Tab")
        seen.add(str(browser.run("document.activeElement.id")))
    assert wanted <= seen
    ring = "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' || s.boxShadow !== 'none'; })()"
    browser.run("document.getElementById('save').focus({focusVisible: true})")
    assert browser.run(ring)


def test_everything_has_a_name_and_changes_are_announced(page_server: Running, browser: ViewerBrowser) -> None:
    opened(page_server, browser, 16)
    browser.wait("document.getElementById('said').innerText.includes('cloth')")
    found = browser.spoken()
    wanted = {"button", "slider", "checkbox", "switch", "combobox", "textbox", "spinbutton", "image", "link", "dialog", "application"}
    assert [one for one in found if one["role"] in wanted and not one["name"]] == []
    roles = {one["role"] for one in found}
    assert {"button", "slider", "switch", "combobox", "textbox", "spinbutton", "application", "complementary"} <= roles
    announced = [one for one in found if one["role"] == "status"]
    assert announced
    assert {(one["live"], one["atomic"]) for one in announced} == {("polite", True)}
    assert browser.run("document.getElementById('scale').getAttribute('role')") == "status"
    text = "document.getElementById('scale').innerText.replace(/\\s+/g, ' ').trim()"
    assert browser.run(text) == "16x, synthesised since 4x"
    (words,) = browser.run("[...document.querySelectorAll('#said')].map(one => one.getAttribute('aria-live'))")
    assert words == "polite"
    (mix,) = [one for one in found if one["name"] == "From evidence to invention"]
    assert mix["role"] == "slider"
    assert browser.run("document.getElementById('mix').getAttribute('aria-valuetext')") == "100 % of what was made up is shown"
    browser.run("document.getElementById('stage').focus()")
    browser.press("4")
    browser.wait(f"{text} === '64x, synthesised since 4x'")
    browser.settle()
