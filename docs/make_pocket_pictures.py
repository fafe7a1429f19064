"""Draw the pictures of docs/pocket.md: python docs/make_pocket_pictures.py PHOTOS [RUN]

PHOTOS is the folder of the 21 photos of docs/results.md, RUN one of ``chainzoom train pocket`` (for the curves alone).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import chainzoom
from chainzoom.chain import Chain
from chainzoom.photos import Photo

IMAGES = Path(__file__).parent / "images"
PHOTOS = (
    *("chelsea.png", "flower.png", "Bridge.jpg", "Dragonfly.jpg", "greentock.jpg"),
    *("picosdeeuropa.jpg", "analogpattern.jpg", "friends.jpg", "coffee.png", "airplane.jpg"),
)
WORDS = ("grass", "rock", "sand", "wood", "brick wall", "snow", "leaves", "cat fur", "paving stones", "water", "metal", "cloth")
WALL, TABLE = ("friends.jpg", (0.82, 0.12)), ("coffee.png", (0.9, 0.15))
SEEDS = 6
CURVES = {
    "critics": "critics (4: they know nothing)",
    "style": "feature statistics of pure pairs",
    "gap": "pixels of pure pairs",
    "strayed": "strayed from the surface lent",
    "fine/deep": "fine detail from depth 3 on, made / real",
}
GAP, TEXT = 4, 20


def zoom(chain: Chain, photo: Path, at: tuple[float, float] = (0.5, 0.5), seed: int = 0) -> tuple[list[Image.Image], str]:
    """The states from the photo to 256x, and the words of the last."""
    steps = list(chain.run(Photo.open(photo), at=at, to=256, seed=seed))
    words = steps[-1].prompt.text if steps[-1].prompt else ""
    return [Image.fromarray(np.rint(step.image.clip(0, 1) * 255).astype(np.uint8)) for step in steps], words


def chain_of(preset: str, **settings: Any) -> Chain:
    """A preset's chain with other settings, 256 pixels a state."""
    return chainzoom.load_preset(preset).build(size=256, **settings)


def table(rows: list[list[tuple[Image.Image, str]]], side: int, file: str, heads: Sequence[str] = ()) -> None:
    """Rows of pictures, each over its own line of text, under ``heads``."""
    width, top = max(len(row) for row in rows), TEXT if heads else 0
    sheet = Image.new("RGB", (width * (side + GAP) - GAP, top + len(rows) * (side + TEXT)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for x, head in enumerate(heads):
        draw.text((x * (side + GAP) + 2, 2), head, "black", font)
    for y, row in enumerate(rows):
        for x, (picture, text) in enumerate(row):
            place = x * (side + GAP), top + y * (side + TEXT)
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), place)
            draw.text((place[0] + 2, place[1] + side + 2), text, "black", font)
    sheet.save(IMAGES / file, quality=88)
    print(IMAGES / file)


def strips(folder: Path) -> None:
    """Ten photos, ours and Real-ESRGAN's."""
    ours, theirs, rows = chain_of("default", protocol="paper"), chain_of("realesrgan", protocol="paper"), []
    for name in PHOTOS:
        (states, words), (others, _) = zoom(ours, folder / name), zoom(theirs, folder / name)
        pictures = [*states, *others[2:]]
        rows.append(list(zip(pictures, [f"{Path(name).stem}: {words}", *[""] * (len(pictures) - 1)], strict=True)))
    table(rows, 200, "pocket-strips.jpg", ("photo", "4x", "16x", "64x", "256x", "Real-ESRGAN 16x", "64x", "256x"))


def worded(folder: Path) -> None:
    """One wall with twelve words, and four of them from six seeds."""
    photo, at = folder / WALL[0], WALL[1]
    made = [(zoom(chain_of("default", prompt=word), photo, at)[0][-1], word) for word in WORDS]
    table([made[:6], made[6:]], 256, "pocket-words.jpg")
    seeds = [
        [(zoom(chain_of("default", prompt=word), photo, at, seed)[0][-1], f"{word}, seed {seed}") for seed in range(SEEDS)]
        for word in ("grass", "brick wall", "rock", "wood")
    ]
    table(seeds, 192, "pocket-seeds.jpg")


def creativity(folder: Path) -> None:
    """A table from faithful to inventive, from two seeds."""
    rows = []
    for seed in (0, 1):
        row = []
        for value in (0.0, 0.33, 0.66, 1.0):
            chain = chainzoom.load_preset("pocket").with_options(creativity=value).build(size=256, prompt="wood")
            row.append((zoom(chain, folder / TABLE[0], TABLE[1], seed)[0][-1], f"creativity {value:g}, seed {seed}"))
        rows.append(row)
    table(rows, 256, "pocket-creativity.jpg")


def curves(run: Path) -> None:
    """What the log of a training run says."""
    from matplotlib import pyplot

    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    figure, axes = pyplot.subplots(1, len(CURVES), figsize=(12.8, 2.4), layout="constrained")
    for axis, (key, title) in zip(axes, CURVES.items(), strict=True):
        steps, values = zip(*((entry["step"], entry[key]) for entry in log if key in entry), strict=True)
        mean = np.convolve(values, np.full(7, 1 / 7), "valid")
        axis.plot(steps, values, color="0.8", linewidth=0.7)
        axis.plot(steps[3 : len(mean) + 3], mean, color="#cc6600")
        axis.set_title(title, fontsize=8)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    figure.savefig(IMAGES / "pocket-curves.png", dpi=100)


if __name__ == "__main__":
    strips(Path(sys.argv[1]))
    worded(Path(sys.argv[1]))
    creativity(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        curves(Path(sys.argv[2]))
