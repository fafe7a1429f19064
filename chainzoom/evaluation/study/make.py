"""The study's page: one HTML file with every picture in it, which asks no server for anything.

study.html   for all raters; each opens it with an own code, in the link or typed
raters/      with ``separate``: one file a rater instead
links.txt    code and link of each rater
key.json     which item is whose; for the scoring, not for the raters
answers/     where the files that come back belong
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from chainzoom.atomic import output_error, write_bytes
from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.study.collect import Scene, collect
from chainzoom.evaluation.study.design import Set, Study, design, thinned
from chainzoom.images import resize, to_uint8
from chainzoom.photos import Photo
from chainzoom.report.frames import scale_text

KEY = "key.json"
_LONGEST, _WHOLE = 768, 640


def make_study(
    results: Path,
    out: Path,
    *,
    raters: int = 25,
    image_sets: int = 5,
    text_sets: int = 5,
    seed: int = 0,
    title: str = "Picture study",
    quality: int | None = None,
    separate: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Study, list[Path], list[str]]:
    """Build the study from ``results`` (see collect) into ``out``; returns its key, the files written, and notes on what was left out.

    ``quality`` 1 to 100 compresses the pictures with loss; None keeps every pixel. Raises OutputError and OptionError.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise OptionError(f"--quality takes a number from 1 to 100; got {quality}")
    if (out / KEY).exists() and not overwrite:
        raise OutputError(f"{out} holds a study already; answers to it would be lost: choose another --out or use --overwrite")
    scenes, notes = collect(results)
    hashes = {scene.name: {method: _digest(scene, method) for method in scene.methods} for scene in scenes}
    study = design(scenes, raters=raters, image_sets=image_sets, text_sets=text_sets, seed=seed, title=title, hashes=hashes)
    for kind, wanted in (("image", image_sets), ("text", text_sets)):
        if (found := sum(one.kind == kind for one in study.sets)) < wanted:
            notes.append(f"{found} of {wanted} {kind} sets: no more scenes with {'pictures' if kind == 'image' else 'words'} that differ")
    try:
        for folder in [out, out / "answers", *([out / "raters"] if separate else [])]:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    pictures = _Pictures(quality)
    by_name = {scene.name: scene for scene in scenes}
    sets = []
    for number, one in enumerate(study.sets, 1):
        sets.append(_set(one, by_name[one.scene], pictures))
        if progress:
            progress(number, len(study.sets))
    targets = [(out / "raters" / f"{code}.html", (code,)) for code in study.raters] if separate else [(out / "study.html", study.raters)]
    for path, codes in targets:
        write_bytes(path, _page(study, sets, codes, pictures.encoded).encode())
    links = [f"{code}  {f'raters/{code}.html' if separate else f'study.html#{code}'}" for code in study.raters]
    write_bytes(out / "links.txt", ("\n".join(links) + "\n").encode())
    write_bytes(out / KEY, (json.dumps(study.to_json(), ensure_ascii=False, indent=2) + "\n").encode())
    return study, [*(path for path, _ in targets), out / "links.txt", out / KEY], notes


class _Pictures:
    """Encoded pictures, each once. They carry no metadata, because that names the method."""

    def __init__(self, quality: int | None) -> None:
        self.encoded: list[str] = []
        self._known: dict[tuple[Path, int], int] = {}
        self._options: dict[str, Any] = {"lossless": True, "quality": 60} if quality is None else {"quality": quality}

    def add(self, path: Path, longest: int) -> int:
        """The number of a picture, shrunk to at most ``longest`` pixels a side. Raises ImageError."""
        if (path, longest) not in self._known:
            photo = Photo.open(path, min_side=1)
            width, height = photo.width, photo.height
            image = photo.read((0, 0, width, height), (width, height))
            if max(width, height) > longest:
                ratio = longest / max(width, height)
                image = resize(image, (max(1, round(width * ratio)), max(1, round(height * ratio))), "bicubic")
            data = io.BytesIO()
            PILImage.fromarray(to_uint8(image)).save(data, "WEBP", method=3, **self._options)
            text = base64.b64encode(data.getvalue()).decode()
            if text not in self.encoded:
                self.encoded.append(text)
            self._known[path, longest] = self.encoded.index(text)
        return self._known[path, longest]


def _digest(scene: Scene, method: str) -> str:
    """Of everything that a method's pictures show."""
    total = hashlib.sha256()
    for state in thinned(scene.methods[method]):
        photo = Photo.open(state.picture, min_side=1)
        pixels = photo.read((0, 0, photo.width, photo.height), (photo.width, photo.height))
        total.update(f"{pixels.shape}".encode() + to_uint8(pixels).tobytes())
    return total.hexdigest()


def _set(one: Set, scene: Scene, pictures: _Pictures) -> dict[str, Any]:
    """A set as the page reads it."""
    items = []
    for item in one.items:
        states = thinned(scene.methods[item.methods[0]])
        if one.kind == "image":
            content = [[scale_text(state.scale), pictures.add(state.picture, _LONGEST)] for state in states]
        else:
            content = [[scale_text(state.scale), state.words] for state in states if state.words.strip()]
        items.append({"id": item.id, "content": content})
    return {
        "id": one.id,
        "kind": one.kind,
        "whole": pictures.add(scene.whole, _WHOLE),
        "closest": pictures.add(scene.closest, _LONGEST),
        "box": [round(value, 5) for value in scene.box],
        "items": items,
    }


def _page(study: Study, sets: Sequence[dict[str, Any]], codes: Sequence[str], pictures: Sequence[str]) -> str:
    """The whole page for these raters. Only hashed style and script may run; pictures are data."""
    style, script, page = (_part(f"page.{kind}") for kind in ("css", "js", "html"))
    orders = {code: study.order(code) for code in codes}
    # Inside a script element "<" could end it.
    data = json.dumps({"study": study.id, "title": study.title, "orders": orders, "sets": sets}, ensure_ascii=False).replace("<", "\\u003c")
    blocks = "\n".join(f'<script type="text/plain" id="picture-{k}">{encoded}</script>' for k, encoded in enumerate(pictures))
    values = {
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "title": html.escape(study.title),
        "style": style,
        "data": data,
        "pictures": blocks,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], page)


def _part(name: str) -> str:
    return resources.files("chainzoom.evaluation.study").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
