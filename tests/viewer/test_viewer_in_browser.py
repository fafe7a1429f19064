"""The viewer's page in a real headless Chromium against a real server on loopback."""

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
from tests.viewer.viewer_server import Running, cloth

pytestmark = [
    pytest.mark.skipif(find() is None, reason="no Chromium here"),
    pytest.mark.skipif(vendor.missing(), reason=f"OpenSeadragon is not here: {vendor.HOW}"),
]


def shown(browser: ViewerBrowser) -> str:
    return " ".join(str(browser.run("document.getElementById('scale').innerText")).split())


def at(page_server: Running, z: float = 64, **more: Any) -> str:
    told = "".join(f"&{key}={value}" for key, value in more.items())
    return f"{page_server.address}/#photo={page_server.photo()}&x=0.4&y=0.5&z={z}{told}"


def test_from_the_gallery_by_wheel_to_256x_and_sharp(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(f"{page_server.address}/")
    browser.wait("document.querySelectorAll('#photos a').length === 2")
    browser.click("#photos a")
    browser.settle()
    assert "x, " in shown(browser)
    for _ in range(60):
        browser.wheel(320, 320, 2)
        time.sleep(0.03)
        if float(browser.run("chainzoomPicture.place().z")) > 256:
            break
    browser.settle()
    assert "synthesised since 4x" in shown(browser)
    assert float(shown(browser).split("x")[0]) >= 256
    finest = "Math.max(...chainzoomPicture.layers.made.getTilesToDraw().map(one => one.tile.level))"
    assert browser.run(finest) == browser.run("chainzoomPicture.photo.levels")
    assert all(one.startswith((page_server.address, "data:", "blob:", "about:")) for one in browser.requests), browser.requests


def test_the_gallery_is_drawn_once_so_that_no_click_is_lost(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(f"{page_server.address}/")
    browser.wait("document.querySelectorAll('#photos a').length === 2")
    browser.run("document.querySelector('#photos a').drawn = 'first'")
    browser.click("#photos a")
    browser.settle()
    assert len([one for one in browser.requests if one.endswith("/api/photos")]) == 1
    browser.click("#back")
    browser.wait("!document.getElementById('gallery').hidden")
    time.sleep(0.3)
    assert len([one for one in browser.requests if one.endswith("/api/photos")]) == 2
    assert browser.run("document.querySelector('#photos a').drawn") == "first"


def test_real_pixels_come_at_once_and_the_scale_says_so(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(f"{page_server.address}/#photo={page_server.photo()}&x=0.5&y=0.5&z=1")
    browser.settle()
    assert shown(browser) == "1x, real pixels"
    assert not [one for one in browser.requests if "/api/views/" in one and "/tiles/" in one]


def test_away_and_back_is_the_same_picture(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server))
    browser.settle()
    before = browser.canvas()
    here = browser.run("JSON.stringify(chainzoomPicture.place())")
    browser.drag((500, 300), (150, 120))
    time.sleep(0.3)
    browser.settle()
    assert browser.canvas() != before
    browser.run(f"chainzoomPicture.go({here}, true)")
    browser.settle()
    assert browser.canvas() == before


def test_a_link_brings_another_person_to_the_same_picture(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server, prompt="wool", seed=7))
    browser.settle()
    link, picture = browser.run("location.href"), browser.canvas()
    for visit in (lambda: browser.open(link), browser.reload):
        visit()
        browser.settle()
        assert browser.canvas() == picture
        assert browser.run("document.getElementById('prompt').value") == "wool"


def test_other_words_make_another_picture(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server))
    browser.settle()
    before = browser.canvas()
    browser.wait("document.getElementById('said').innerText.includes('cloth')")
    browser.click("#prompt")
    browser.type("red brick")
    browser.press("Enter")
    browser.wait("location.hash.includes('red+brick')")
    browser.wait("!document.getElementById('work').hidden || chainzoomPicture.loader.finished.length")
    browser.settle()
    assert browser.canvas() != before


def test_keys_move_zoom_and_open(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server, 4))
    browser.settle()
    browser.run("document.getElementById('stage').focus()")
    x = browser.run("chainzoomPicture.place().x")
    browser.press("ArrowRight")
    browser.wait(f"chainzoomPicture.place().x > {x}")
    browser.press("+")
    browser.wait("Math.abs(chainzoomPicture.place().z - 6.4) < 0.1")
    browser.press("3")
    browser.wait("Math.abs(chainzoomPicture.place().z - 16) < 0.01")
    browser.press("b")
    browser.wait("!document.getElementById('wipe').hidden && Boolean(chainzoomPicture.layers.plain)")
    browser.press("b")
    browser.press("r")
    browser.wait("document.getElementById('recorddialog').open")
    assert "SHA-256" in browser.run("document.getElementById('recordlist').innerText")
    browser.run("document.getElementById('recorddialog').close()")


def test_evidence_and_invention(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server))
    browser.settle()
    pictures = [browser.canvas()]
    for share in (50, 0):
        browser.run(f"(() => {{ const m = document.getElementById('mix'); m.value = {share}; m.dispatchEvent(new Event('input')); }})()")
        browser.wait("Boolean(chainzoomPicture.layers.plain)")
        browser.settle()
        pictures.append(browser.canvas())
    assert len(set(pictures)) == 3
    assert "mix=0" in browser.run("location.hash")


def test_the_wipe_shows_both(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server))
    browser.settle()
    before = browser.canvas()
    browser.click("#compare")
    browser.wait("Boolean(chainzoomPicture.layers.plain)")
    browser.settle()
    half = browser.canvas()
    assert half != before
    browser.run("document.getElementById('wipebar').focus()")
    browser.press("ArrowRight")
    browser.settle()
    assert browser.canvas() != half
    assert browser.run("document.getElementById('wipebar').getAttribute('aria-valuenow')") == "52"


def test_save_and_film(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server, 16))
    browser.settle()
    browser.wait("document.getElementById('seedhint').innerText")
    browser.click("#save")
    end = time.monotonic() + 30
    while not (found := list(browser.downloads.glob("*-16x.png"))):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert found[0].read_bytes().startswith(b"\x89PNG")
    browser.click("#film")
    browser.wait("!document.getElementById('filmbar').hidden")
    browser.click("#filmwhole")
    browser.wait("!document.getElementById('filmlink').hidden", 90)
    href = browser.run("document.getElementById('filmlink').href")
    assert page_server.ask("GET", href.removeprefix(page_server.address))[2][4:8] == b"ftyp"
    browser.click("#filmstop")


def test_a_dropped_file_is_opened(page_server: Running, browser: ViewerBrowser, tmp_path: Path) -> None:
    browser.open(f"{page_server.address}/")
    browser.wait("document.querySelectorAll('#photos a').length >= 2")
    data = list(cloth(tmp_path / "dropped.png", 70, 50).read_bytes())
    browser.run(
        f"(() => {{ const t = new DataTransfer();"
        f" t.items.add(new File([new Uint8Array({json.dumps(data)})], 'dropped.png', {{type: 'image/png'}}));"
        " dispatchEvent(new DragEvent('dragenter', {dataTransfer: t, cancelable: true}));"
        " dispatchEvent(new DragEvent('drop', {dataTransfer: t, cancelable: true})); })()"
    )
    browser.wait("document.getElementById('name').innerText === 'dropped.png'")
    browser.settle()


def test_what_is_out_of_sight_is_not_waited_for(page_server: Running, browser: ViewerBrowser) -> None:
    browser.open(at(page_server, 256, prompt=f"fresh{time.time_ns()}"))
    browser.wait("chainzoomPicture?.loader.all().some(one => one.lane === 'made')")
    browser.run("chainzoomPicture.go({x: 0.5, y: 0.5, z: 1}, true)")
    browser.wait("chainzoomPicture.loader.all().filter(one => one.lane === 'made').length === 0", 5)
    browser.settle()


def test_on_a_phone_the_picture_comes_first(page_server: Running, browser: ViewerBrowser) -> None:
    browser.screen(390, 780, phone=True)
    browser.open(at(page_server, 16))
    browser.settle()
    assert browser.run("document.documentElement.scrollWidth") == 390
    assert browser.run("getComputedStyle(document.getElementById('controls')).display") == "none"
    browser.click("#toggle")
    browser.wait("getComputedStyle(document.getElementById('controls')).display === 'block'")
    small = (
        "[...document.querySelectorAll('#viewer button, #controls select')]"
        ".filter(b => b.offsetParent && b.getBoundingClientRect().height < 40).map(b => b.id)"
    )
    assert browser.run(small) == []
