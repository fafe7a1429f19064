"""Contact sheets: one picture's states by every method, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image as PILImage
from PIL import ImageDraw

from chainzoom.atomic import write_bytes
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.plan import EvalPlan
from chainzoom.evaluation.scoring import Run, Score, stored_runs
from chainzoom.images import resize, to_uint8
from chainzoom.pictures import read_png
from chainzoom.provenance import Provenance, xmp
from chainzoom.report.frames import scale_text
from chainzoom.report.lettering import Line, wrapped
from chainzoom.weights import Weights

_SIDE, _GAP, _LEFT, _TOP = 224, 8, 150, 58
_PAPER, _INK, _PALE, _RED = (255, 255, 255), (32, 32, 36), (112, 112, 120), (170, 40, 30)


def write_sheets(plan: EvalPlan, out: Path, scores: list[Score]) -> list[Path]:
    """Write sheets/IMAGE.webp for every picture that has a run; returns the paths. Sheets of pictures without a run are left out."""
    folder = out / "sheets"
    folder.mkdir(exist_ok=True)
    niqe = {(s.method, s.image, s.scale): s.value for s in scores if s.metric == "niqe" and not s.failed}
    paths = []
    for item in plan.items:
        runs = stored_runs(plan, out, item)
        if runs:
            path = folder / f"{item.name}.webp"
            write_bytes(path, _sheet(plan, item, runs, niqe))
            paths.append(path)
    return paths


def _sheet(plan: EvalPlan, item: Item, runs: dict[str, Run], niqe: dict[tuple[str, str, float], float]) -> bytes:
    width = _LEFT + (len(plan.scales) + 1) * (_SIDE + _GAP) + _GAP
    height = _TOP + len(plan.methods) * (_SIDE + _GAP + 16) + _GAP
    sheet = PILImage.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (_GAP + 4, 10), item.name, 17, _INK, width - 20)
    for k, scale in enumerate((1.0, *plan.scales)):
        text = "1x, the photo" if k == 0 else f"{scale_text(scale)}, synthesised"
        _write(pen, (_LEFT + k * (_SIDE + _GAP), 36), text, 13, _PALE, _SIDE)
    for row, method in enumerate(plan.methods):
        top = _TOP + row * (_SIDE + _GAP + 16)
        y = top + 4
        for line in wrapped(method.label, 14, _LEFT - 20, 5):
            y = _write(pen, (_GAP + 4, y), line, 14, _INK, _LEFT - 20)
        run = runs.get(method.name)
        for k, scale in enumerate((1.0, *plan.scales)):
            left = _LEFT + k * (_SIDE + _GAP)
            step = None if run is None else run.steps[0] if k == 0 and run.steps else run.step_at(scale)
            if run is None or step is None:
                pen.rectangle((left, top, left + _SIDE, top + _SIDE), outline=_PALE)
                _write(pen, (left + 10, top + 10), "failed or not run", 13, _RED, _SIDE - 20)
                continue
            image = read_png(run.folder / step["file"])[0]
            unit = _SIDE / max(image.shape[:2])
            size = (max(1, round(image.shape[1] * unit)), max(1, round(image.shape[0] * unit)))
            sheet.paste(PILImage.fromarray(to_uint8(resize(image, size, "lanczos"))), (left, top))
            figure = niqe.get((method.name, item.name, scale))
            if figure is not None:
                _write(pen, (left, top + _SIDE + 1), f"NIQE {figure:.1f}", 12, _PALE, _SIDE)
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=88, method=4, xmp=xmp(provenance(plan, runs)).encode())
    return file.getvalue()


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], room: float) -> int:
    """Draw one line, cut to ``room``; returns the next line's top."""
    line = Line.of(text, size).fitted(room)
    pen.text(at, line.text, fill=colour, font=line.font)
    return at[1] + round(size * 1.3)


def provenance(plan: EvalPlan, runs: Mapping[str, Run]) -> Provenance:
    """What a picture drawn from several runs says of itself."""
    first = next(iter(runs.values())).record
    weights = {Weights(**step["weights"]): None for run in runs.values() for step in run.steps if step["weights"]}
    generative = any(run.record["generative"] for run in runs.values())
    return Provenance(
        first["source"]["sha256"], plan.to, True, tuple(weights), synthesised_from=min(plan.scales), generative=generative, seed=plan.seed
    )
