"""The page as a file: blinded, self-contained, whole."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.cli import cli
from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.study.make import make_study
from tests.cli.test_zoom import call
from tests.evaluation.study.conftest import METHODS


def test_the_page_names_no_method_and_asks_no_server(results: Path, tmp_path: Path) -> None:
    study, paths, notes = make_study(results, tmp_path / "s", raters=7, image_sets=3, text_sets=3)
    assert notes == []
    assert [path.name for path in paths] == ["study.html", "links.txt", "key.json"]
    page = paths[0].read_text()
    for name in (*METHODS, "scene", ".png", "manifest", "http:", "https:"):
        # Words are shown to raters, and the fixture's say of which scene they are.
        assert name not in re.sub(r"words \d of scene \d", "", page), name
    assert "default-src 'none'" in page
    assert "{{" not in page
    assert len(paths[1].read_text().splitlines()) == 7
    assert f"study.html#{study.raters[0]}" in paths[1].read_text()
    assert all(method in paths[2].read_text() for method in METHODS)


def test_the_policy_allows_exactly_this_style_and_script(results: Path, tmp_path: Path) -> None:
    page = make_study(results, tmp_path / "s", raters=2)[1][0].read_text()
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(text) == 1
        assert f"{rule} 'sha256-{base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()}'" in page


def test_pictures_are_exact_and_carry_no_metadata(results: Path, tmp_path: Path) -> None:
    page = make_study(results, tmp_path / "s", raters=2, image_sets=6, text_sets=0)[1][0].read_text()
    blocks = re.findall(r'id="picture-\d+">([^<]*)<', page)
    embedded = {np.asarray(PILImage.open(io.BytesIO(base64.b64decode(block)))).tobytes() for block in blocks}
    assert len(blocks) == 6 + 6 * 3 * 3
    with PILImage.open(results / "2-1-16.png") as image:
        assert np.asarray(image).tobytes() in embedded
    for block in blocks:
        with PILImage.open(io.BytesIO(base64.b64decode(block))) as image:
            assert not {"exif", "xmp", "icc_profile"} & image.info.keys()


def test_words_cannot_break_the_page(results: Path, tmp_path: Path) -> None:
    for name in results.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    nasty = '</script><img src=x onerror="alert(1)"> {{script}} \u2028'
    manifest["photos"][0]["methods"]["alpha-net"][0]["words"] = nasty
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    page = make_study(tmp_path, tmp_path / "s", raters=1, text_sets=6, title="<b>&{{style}}")[1][0].read_text()
    assert "<img src=x" not in page
    assert "<title>&lt;b&gt;&amp;{{style}}</title>" in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert nasty in json.dumps(json.loads(data[1]), ensure_ascii=False).replace('\\"', '"')


def test_same_arguments_same_bytes(results: Path, tmp_path: Path) -> None:
    for name in "ab":
        make_study(results, tmp_path / name, raters=3)
    for file in ("study.html", "key.json", "links.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_one_file_a_rater(results: Path, tmp_path: Path) -> None:
    study, paths, _ = make_study(results, tmp_path / "s", raters=3, separate=True)
    assert sorted(path.stem for path in (tmp_path / "s" / "raters").iterdir()) == sorted(study.raters)
    text = paths[0].read_text()
    assert study.raters[0] in text
    assert study.raters[1] not in text


def test_an_earlier_study_is_not_lost(results: Path, tmp_path: Path) -> None:
    make_study(results, tmp_path / "s", raters=2)
    with pytest.raises(OutputError, match="--overwrite"):
        make_study(results, tmp_path / "s", raters=2)
    make_study(results, tmp_path / "s", raters=3, overwrite=True)
    assert len((tmp_path / "s" / "links.txt").read_text().splitlines()) == 3


def test_quality(results: Path, tmp_path: Path) -> None:
    size = [make_study(results, tmp_path / str(q), raters=1, quality=q)[1][0].stat().st_size for q in (None, 60)]
    assert size[1] < 0.7 * size[0]
    with pytest.raises(OptionError, match="1 to 100"):
        make_study(results, tmp_path / "s", quality=0)


def test_missing_sets_are_said(results: Path, tmp_path: Path) -> None:
    _, _, notes = make_study(results, tmp_path / "s", raters=1, image_sets=9)
    assert notes == ["6 of 9 image sets: no more scenes with pictures that differ"]


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "study" in cli.commands
    code, printed, said = call("study", "make", results, "--raters", "4", "--out", tmp_path / "s", capsys=capsys)
    assert code == 0
    assert printed.split() == [str(tmp_path / "s" / name) for name in ("study.html", "links.txt", "key.json")]
    assert "5 image sets, 5 text sets, 3 methods: alpha-net, beta-net, gamma-net" in said
    code, printed, said = call("study", "make", tmp_path / "nowhere", capsys=capsys)
    assert (code, printed) == (2, "")
    assert said.count("\n") == 1
