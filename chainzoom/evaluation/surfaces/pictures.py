"""What words did, to be looked at: rows of inputs, a column a prompt, and how each state was named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw

from chainzoom.atomic import write_bytes
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.scoring import stored_runs
from chainzoom.evaluation.sheets import provenance
from chainzoom.evaluation.surfaces.judge import Judge
from chainzoom.evaluation.surfaces.plans import word_item
from chainzoom.evaluation.surfaces.words import PATCHES
from chainzoom.images import resize, to_uint8
from chainzoom.pictures import read_png
from chainzoom.provenance import xmp
from chainzoom.report.frames import scale_text
from chainzoom.report.lettering import Line

_TILE, _GAP, _TOP, _ROWS = 160, 6, 56, 8
_PAPER, _INK, _PALE, _RIGHT = (255, 255, 255), (32, 32, 36), (112, 112, 120), (20, 110, 60)


def write_word_sheets(judge: Judge, plan: EvalPlan, out: Path, folder: Path) -> list[Path]:
    """Write words-METHOD-SCALE.webp for the first and the last step of every method into ``folder``; returns the paths."""
    paths = []
    items = {item.name: item for item in plan.items}
    inputs = [item.name.rpartition("-")[0] for item in plan.items if not item.material][:_ROWS]
    columns = ("", *judge.materials)
    for method in plan.methods:
        for scale in dict.fromkeys((plan.scales[0], plan.scales[-1])):
            width, height = (len(columns) + 1) * (_TILE + _GAP) + _GAP, _TOP + len(inputs) * (_TILE + _GAP + 18)
            sheet = PILImage.new("RGB", (width, height), _PAPER)
            pen = ImageDraw.Draw(sheet)
            _write(
                pen, (_GAP, 8), f"{method.label}, {scale_text(scale)} from inputs that hold no detail; below: what it is named", _INK, width
            )
            for k, text in enumerate(("the input", *(m or "no words" for m in columns))):
                _write(pen, (_GAP + k * (_TILE + _GAP), 34), text, _PALE, _TILE)
            runs = {}
            for row, name in enumerate(inputs):
                top = _TOP + row * (_TILE + _GAP + 18)
                for column, material in enumerate(columns):
                    run = stored_runs(plan, out, items[word_item(name, material)]).get(method.name)
                    step = run.step_at(scale) if run else None
                    if run is None or step is None:
                        continue
                    runs[f"{name}{material}"] = run
                    if column == 0:
                        _paste(sheet, read_png(run.folder / run.steps[0]["file"])[0], (_GAP, top))
                    image, left = read_png(run.folder / step["file"])[0], _GAP + (column + 1) * (_TILE + _GAP)
                    _paste(sheet, image, (left, top))
                    scores = judge.scores([image], [name], PATCHES, [str(step["sha256"])])[0]
                    named = judge.materials[int(np.argmax(scores))]
                    _write(pen, (left, top + _TILE + 1), named, _RIGHT if named == material else _PALE, _TILE)
            if runs:
                file = io.BytesIO()
                sheet.save(file, "WEBP", quality=88, method=4, xmp=xmp(provenance(plan, runs)).encode())
                path = folder / f"words-{method.name}-{scale:g}x.webp"
                write_bytes(path, file.getvalue())
                paths.append(path)
    return paths


def _paste(sheet: PILImage.Image, image: np.ndarray, at: tuple[int, int]) -> None:
    sheet.paste(PILImage.fromarray(to_uint8(resize(image, (_TILE, _TILE), "lanczos"))), at)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: tuple[int, int, int], room: float) -> None:
    line = Line.of(text, 14).fitted(room)
    pen.text(at, line.text, fill=colour, font=line.font)
