from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.images import from_uint, psnr
from chainzoom.report.frames import shares_text
from chainzoom.report.page import region_text, render_page

VOID = {"meta", "img", "br", "hr", "link", "input", "source"}


class Outline(HTMLParser):
    """Tags with attributes, the text, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not {"style", "title"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def outline(chain, summary) -> Outline:
    return Outline(render_page(chain(), summary, film="zoom.mp4", command="chainzoom zoom cat.jpg --to 64"))


def test_page_says_what_was_done(outline) -> None:
    for words in (
        "cat.jpg, zoomed to 64x",
        "Real pixels up to 1x; synthesised from 4x on.",
        "tabby cat, soft fur",
        "Prompt from tags",
        "83 %",
        "28.0 dB → 46.0 dB",
        "BSD-3-Clause",
        "cd" * 32,
        "ab" * 32,
        "chainzoom zoom cat.jpg --to 64",
        "ICC profile converted to sRGB",
        "0.75 s",
        "1.50 s",
    ):
        assert words in outline.text, words


def test_nothing_is_fetched_and_nothing_runs(outline) -> None:
    for _tag, attrs in outline.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            assert name != "style", "the policy blocks inline styles"
            if name in {"src", "href", "poster", "data", "srcset", "action"}:
                assert value is not None
                assert value.startswith(("data:image/webp;base64,", "#")) or re.fullmatch(r"states/\d\.png|zoom\.mp4", value)
    assert not outline.all("script")
    assert not outline.all("link")


def test_policy_allows_just_our_style(chain, summary) -> None:
    page = render_page(chain(), summary, film=None, command="x")
    policy = next(a["content"] for a in Outline(page).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    assert base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "url(" not in style[0]
    assert "prefers-color-scheme: dark" in style[0]


def test_everything_is_escaped(chain, summary) -> None:
    evil = '</code><script>alert("1")</script>\'&amp;$x'
    frames = [
        replace(
            f,
            prompt=evil,
            prompt_source=evil,
            tags=((evil, 0.5),),
            notes=(evil,),
            backbone=evil,
            file=evil,
            seconds={evil: 1.0},
            synthesised=True,
        )
        for f in chain()
    ]
    weights = tuple(replace(w, name=evil, revision=evil, sha256=evil, licence=evil) for w in summary.weights)
    names = dict.fromkeys(("source_name", "source_sha256", "preset", "mode", "protocol", "version"), evil)
    page = render_page(frames, replace(summary, **names, weights=weights, notes=(evil,)), film=evil, command=evil)
    outline = Outline(page)
    assert "<script" not in page
    assert outline.text.count(evil) > 30
    assert any(evil in (a["alt"] or "") for a in outline.all("img"))


def test_addresses_cannot_name_a_scheme(chain, summary) -> None:
    outline = Outline(render_page([replace(chain()[0], file="javascript:alert(1)")], summary, film="a b#?.mp4", command="x"))
    assert [a["src"] for a in outline.all("video")] == ["a%20b%23%3F.mp4"]
    assert "javascript%3Aalert%281%29" in [a["href"] for a in outline.all("a")]


def test_pictures_travel_inside(chain, summary, outline) -> None:
    frames = chain()
    pictures = outline.all("img")
    assert len(pictures) == len(frames)
    for attrs, frame in zip(pictures, frames, strict=True):
        data = base64.b64decode((attrs["src"] or "").split(",", 1)[1])
        with PILImage.open(io.BytesIO(data)) as image:
            assert psnr(from_uint(np.asarray(image.convert("RGB"))), frame.image) > 45
        assert (attrs["width"], attrs["height"]) == (str(frame.image.shape[1]), str(frame.image.shape[0]))
        assert f"State {frame.index} at" in (attrs["alt"] or "")


def test_large_pictures_are_shrunk_and_carry_the_packet(chain, summary) -> None:
    big = replace(chain()[0], image=np.full((700, 2100, 3), 0.5, np.float32))
    page = render_page([big], summary, film=None, command="x", xmp=lambda frame: b"<x:xmpmeta>packet</x:xmpmeta>")
    data = base64.b64decode(re.findall(r"data:image/webp;base64,([^\"]+)", page)[0])
    assert b"packet" in data
    with PILImage.open(io.BytesIO(data)) as image:
        assert image.size == (1024, 341)


def test_boxes_are_drawn_and_lead_to_the_next_state(chain, summary) -> None:
    frames = chain()
    frames[1] = replace(frames[1], region=(45, 30, 90, 90))
    outline = Outline(render_page(frames[:2], summary, film=None, command="x"))
    box = next(a for a in outline.all("rect") if a.get("class") == "light")
    _, _, w, h = map(float, (outline.all("svg")[0].get("viewbox") or "").split())
    assert [float(box[k] or 0) for k in ("x", "y", "width", "height")] == pytest.approx([w / 4, h / 4, w / 4, h / 2], abs=0.01)
    assert any(a["href"] == "#state-1" and a.get("aria-label") for a in outline.all("a"))
    assert {a["id"] for a in outline.all("li") if "id" in a} == {"state-0", "state-1"}
    tiny = Outline(render_page([frames[0], replace(frames[1], region=(45, 30, 46, 31))], summary, film=None, command="x"))
    assert not [a for a in tiny.all("rect") if a.get("class") == "light"]
    assert [a for a in tiny.all("circle") if a.get("class") == "light"]


def test_structure_serves_keyboard_and_screen_reader(outline) -> None:
    names = [tag for tag, _ in outline.tags]
    assert [names.count(tag) for tag in ("h1", "main", "header", "footer", "nav")] == [1] * 5
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.tags:
        if (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
    assert all(a.get("aria-label") for a in outline.all("video"))
    assert all(a.get("scope") for a in outline.all("th"))
    assert ("html", {"lang": "en"}) in outline.tags


def test_missing_and_exact_figures(chain, summary) -> None:
    frames = [replace(f, consistency_raw=None, consistency_corrected=None, seconds={}, synthesised=False) for f in chain()]
    bare = Outline(render_page(frames, replace(summary, weights=()), film=None, command="x"))
    assert "Consistency" not in bare.text
    assert "Timings" not in bare.text
    assert "No trained weights" in bare.text
    assert "nothing is synthesised" in bare.text
    assert "read nothing" not in bare.text
    assert not bare.all("video")
    frames[1] = replace(frames[1], consistency_raw=math.inf, consistency_corrected=math.inf)
    exact = render_page(frames, summary, film=None, command="x")
    assert "exact → exact" in Outline(exact).text
    assert "nan" not in exact.split("<body>")[1].lower().replace("chainzoom", "").split("base64")[0]
    assert not re.search(r'(cx|cy|y1|points)="[^"]*(inf|nan)', exact)


def test_region_text_has_the_decimals_that_the_size_asks_for(chain) -> None:
    frame = chain()[0]
    assert region_text(replace(frame, region=(386.2, 72.1, 898.2, 584.1))) == "x 386–898, y 72–584"
    assert region_text(replace(frame, region=(10.5, 20, 10.53125, 20.03125))) == "x 10.5000–10.5312, y 20.0000–20.0312"


def test_same_frames_give_the_same_page(chain, summary) -> None:
    assert len({render_page(chain(), summary, film="zoom.mp4", command="x") for _ in range(2)}) == 1


def test_page_says_which_parts_made_a_state(chain, summary) -> None:
    frames = chain()
    frames[-1] = replace(frames[-1], shares=(("realesrgan", 0.834), ("pocket", 0.166)), why="0.61 real pixels <per> pixel")
    text = Outline(render_page(frames, summary, film=None, command="chainzoom")).text
    assert text.count("Made by realesrgan 83 %, pocket 17 %: 0.61 real pixels <per> pixel") == 1


def test_a_share_is_never_rounded_to_none_or_all() -> None:
    assert shares_text([("a", 0.9999), ("b", 0.0001)]) == "a 99 %, b 1 %"
    assert shares_text([("a", 1.0), ("b", 0.0)]) == "a 100 %"
