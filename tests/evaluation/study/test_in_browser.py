"""The page in a real browser: Chromium, driven by real keys and clicks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainzoom.evaluation.study.answers import load_answers
from chainzoom.evaluation.study.design import Study
from chainzoom.evaluation.study.make import make_study
from tests.evaluation.study.browser import Browser, find

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium here")

TASTE = {"alpha-net": "5", "beta-net": "3", "gamma-net": "2"}


@pytest.fixture(scope="module")
def made(results: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str, Path]:
    folder = tmp_path_factory.mktemp("study")
    study, paths, _ = make_study(results, folder, raters=3, image_sets=2, text_sets=2)
    return study, paths[0].as_uri(), folder


@pytest.fixture(scope="module")
def browser(made: tuple[Study, str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = made[2] / "downloads"
    folder.mkdir()
    with Browser(tmp_path_factory.mktemp("profile"), folder) as opened:
        yield opened


@pytest.fixture
def fresh(browser: Browser, made: tuple[Study, str, Path]) -> Browser:
    """The page without a memory, at the first rater's first set."""
    browser.open(made[1])
    browser.run("localStorage.clear()")
    browser.open(f"{made[1]}#{made[0].raters[0]}")
    browser.requests.clear()
    browser.complaints.clear()
    browser.press("Enter")
    assert rating(browser)
    return browser


def rating(browser: Browser) -> bool:
    return bool(browser.run("!document.getElementById('rating').hidden"))


def where(browser: Browser) -> str:
    return str(browser.run("document.getElementById('where').textContent"))


def kept(browser: Browser) -> dict[str, Any]:
    found = browser.run("localStorage.getItem(Object.keys(localStorage).find((key) => key.includes(':')))")
    made: dict[str, Any] = json.loads(found)
    return made


def downloaded(folder: Path, count: int) -> list[Path]:
    end = time.monotonic() + 20
    while len(files := sorted((folder / "downloads").glob("*.json"))) < count:
        assert time.monotonic() < end, "no download"
        time.sleep(0.02)
    return files


def methods_shown(study: Study, rater: str, number: int) -> list[str]:
    place, items = study.order(rater)[number]
    return [study.sets[place].items[k].methods[0] for k in items]


def test_keys_alone_lead_from_the_link_to_the_file(browser: Browser, made: tuple[Study, str, Path]) -> None:
    """Two raters score by taste through the keyboard only; their files hold exactly what they pressed."""
    study, page, folder = made
    for count, rater in enumerate(study.raters[:2], 1):
        browser.open(f"{page}#{rater}")
        browser.press("Enter")
        for number in range(4):
            assert where(browser) == f"Set {number + 1} of 4"
            browser.press(*(TASTE[method] for method in methods_shown(study, rater, number)), "Enter")
        assert browser.run("document.activeElement.id") == "download"
        browser.press("Enter")
        files = downloaded(folder, count)
    good, refused = load_answers(files, study)
    assert refused == []
    assert [one.rater for one in good] == list(study.raters[:2])
    for one in good:
        for each in study.sets:
            assert {item.methods[0]: str(one.scores[item.id]) for item in each.items}.items() <= TASTE.items()
        assert all(0 <= seconds < 60 for seconds in one.seconds.values())
        assert len(one.seconds) == 4


def test_nothing_is_asked_of_any_server_and_nothing_is_blocked(fresh: Browser) -> None:
    fresh.press("3", "z", "ArrowRight", "Escape", "3", "3", "Enter")
    fresh.wait("[...document.querySelectorAll('#items img, #whole, #closest')].every((image) => image.complete && image.naturalWidth > 0)")
    assert fresh.run("document.querySelectorAll('#items img').length") == 9
    assert fresh.complaints == []
    assert all(address.startswith(("data:image/webp", "file:")) for address in fresh.requests)
    fresh.wait("(window.tried ??= fetch('http://127.0.0.1:9/').catch(() => { window.shut = true; }), window.shut === true)")
    assert any("Content Security Policy" in text for text in fresh.complaints), "the policy itself refuses, not only the missing server"


def test_progress_survives_a_reload(fresh: Browser) -> None:
    fresh.press("4", "2", "1", "Enter", "5")
    fresh.reload()
    assert "4 of" in fresh.run("document.getElementById('resume').textContent")
    fresh.press("Enter")
    assert where(fresh) == "Set 2 of 4"
    assert fresh.run("document.querySelectorAll('#items input:checked').length") == 1
    assert fresh.run("[...document.querySelectorAll('.item')].findIndex((node) => node.classList.contains('active'))") == 1
    fresh.press("Backspace")
    assert fresh.run("[...document.querySelectorAll('#items input:checked')].map((one) => one.value).join('')") == "421"


def test_raters_on_one_device_do_not_mix(fresh: Browser, made: tuple[Study, str, Path]) -> None:
    fresh.press("4")
    fresh.open(f"{made[1]}#{made[0].raters[1]}")
    assert fresh.run("document.getElementById('resume').textContent") == ""


def test_a_set_is_left_only_when_it_is_scored(fresh: Browser) -> None:
    fresh.press("4", "Enter")
    assert where(fresh) == "Set 1 of 4"
    assert "not scored yet" in fresh.run("document.getElementById('said').textContent")
    assert fresh.run("document.getElementById('left').textContent") == "2 rows still to score"
    fresh.click("#next")
    assert where(fresh) == "Set 1 of 4"
    fresh.press("4", "4")
    fresh.click("#next")
    assert where(fresh) == "Set 2 of 4"


def test_scores_can_be_changed_by_mouse_and_by_key(fresh: Browser) -> None:
    fresh.click(".item:nth-child(2) label:nth-of-type(5) input")
    assert list(kept(fresh)["scores"].values()) == [5]
    fresh.press("2")
    assert list(kept(fresh)["scores"].values()) == [2], "the row last touched is the one that keys score"
    fresh.click(".item:nth-child(2) label:nth-of-type(3) input")
    fresh.press("ArrowRight")
    assert list(kept(fresh)["scores"].values()) == [4], "arrow keys move within the radio buttons"


def test_a_score_moves_on_to_the_next_open_row(fresh: Browser) -> None:
    active = "[...document.querySelectorAll('.item')].findIndex((node) => node.classList.contains('active'))"
    fresh.click(".item:nth-child(2) label:nth-of-type(5) input")
    fresh.press("5")
    assert fresh.run(active) == 2
    fresh.press("5")
    assert fresh.run(active) == 0, "round to the row that was passed over"
    fresh.press("5")
    assert fresh.run("document.activeElement.id") == "next-below"


def test_the_large_picture(fresh: Browser) -> None:
    fresh.click(".item:nth-child(1) .tiles li:nth-child(2) button")
    name = "document.getElementById('viewer-name').textContent"
    assert fresh.run(name) == "A at 16x"
    fresh.press("ArrowRight")
    assert fresh.run(name) == "A at 64x"
    fresh.press("ArrowRight", "ArrowDown")
    assert fresh.run(name) == "B at 64x"
    fresh.press("4")
    assert len(kept(fresh)["scores"]) == 1
    fresh.press("Escape")
    fresh.wait("!document.getElementById('viewer').open")
    assert rating(fresh)


def test_codes(browser: Browser, made: tuple[Study, str, Path]) -> None:
    study, page, _ = made
    browser.open(f"{page}#NOBOD")
    assert browser.run("document.getElementById('how').hidden")
    assert "no code NOBOD" in browser.run("document.getElementById('code-error').textContent")
    browser.press(*study.raters[2].lower(), "Enter")
    browser.wait("!document.getElementById('how').hidden")


@pytest.mark.parametrize(("width", "height", "phone"), [(1280, 800, False), (390, 844, True), (320, 568, True), (820, 1180, False)])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_and_everything_can_be_read_and_hit(fresh: Browser, width: int, height: int, phone: bool, dark: bool) -> None:
    fresh.screen(width, height, dark=dark, phone=phone)
    try:
        for _ in range(3):
            assert fresh.run("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
            least = 44 if width < 1000 else 36
            small = f"[...document.querySelectorAll('#rating label, #rating header button')].filter((b) => b.offsetHeight < {least}).length"
            assert fresh.run(small) == 0
            assert fresh.run(_CONTRAST) >= 4.5
            fresh.press(*"333"[: fresh.run("document.querySelectorAll('.item').length")], "Enter")
    finally:
        fresh.screen(1280, 800)


# The lowest contrast (WCAG 2) of any visible text against the first opaque ground behind it; disabled buttons are exempt.
_CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  let worst = 99;
  for (const node of document.querySelectorAll('#rating *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.offsetParent || node.closest('[aria-disabled=true]') || node.tagName === 'LEGEND') continue;
    let behind = node, ground;
    while ((ground = parse(getComputedStyle(behind).backgroundColor)).length === 4 && ground[3] === 0) behind = behind.parentElement;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground)].sort((x, y) => y - x);
    worst = Math.min(worst, (a + 0.05) / (b + 0.05));
  }
  return worst;
})()"""


def test_every_control_has_a_name(fresh: Browser) -> None:
    unnamed = """[...document.querySelectorAll('#rating button, #rating input, #rating img, dialog button')].filter((node) =>
      !(node.alt || node.getAttribute('aria-label') || node.textContent.trim() || node.closest('label')?.textContent.trim())).length"""
    assert fresh.run(unnamed) == 0
    assert fresh.run("document.querySelectorAll('fieldset > legend').length") == 3
