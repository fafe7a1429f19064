"""A picture to judge a run by: the same plain inputs and photos zoomed four times with different words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from chainzoom.backbones.exemplars import Exemplars
from chainzoom.images import Image
from chainzoom.pictures import write_png
from chainzoom.training.pocket.batches import Sighting, blur, draw_fields
from chainzoom.training.pocket.generator import Generator, draw_noise
from chainzoom.training.pocket.pictures import Library
from chainzoom.training.pocket.projection import consistent, spread

SAID = ("grass", "sand", "rock", "wood", "leaves", "fur", "snow", "paving")
_SIDE, _STEPS = 32, 4
_FIRST = 16.0
"""The scale of the first step: where a surface begins to be seen."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def zoom(
    generator: Generator,
    image: torch.Tensor,
    prompts: Sequence[str],
    words: torch.Tensor,
    steps: int,
    shelf: Exemplars | None,
    creativity: float = 1.0,
) -> list[torch.Tensor]:
    """States (B, 3, 4h, 4w) of a chain into the middle of (B, 3, h, w), made with B prompts and their (B, 384) words."""
    states = []
    amount = torch.full((len(image),), creativity)
    numbers = [shelf.nearest(said, prompt) if shelf else -1 for said, prompt in zip(words.numpy(), prompts, strict=True)]
    sights: Sequence[Sighting] = [Sighting(number, 5, _FIRST, 4096, 4096) for number in numbers]
    for _ in range(steps):
        fields, sights = draw_fields(shelf, words.numpy(), 4 * image.shape[-1], sights)
        noise = draw_noise(generator.shape, fields, amount)
        with torch.autocast("cpu", torch.bfloat16):
            raw = generator(image.contiguous(memory_format=torch.channels_last), words, noise, amount)
        states.append(consistent(raw, image).clamp(0, 1))
        side = image.shape[-1]
        image = states[-1][..., side * 3 // 2 : side * 5 // 2, side * 3 // 2 : side * 5 // 2]
        sights = [sight.inside(side * 3 // 2, side * 3 // 2) for sight in sights]
    return states


def preview(generator: Generator, library: Library, shelf: Exemplars | None, folder: Path, step: int) -> Image:
    """Rows: one sentence each. Columns: the input, enlarged smoothly, then the states of the chain; twice, from two inputs."""
    rng = np.random.default_rng(5)
    texts = [_nearest(library.texts, word) for word in SAID]
    words = torch.from_numpy(library.words[texts])
    columns: list[torch.Tensor] = []
    state = torch.get_rng_state()
    torch.manual_seed(5)
    photo = next((n for n, e in enumerate(library.entries) if e.kind == "photo"), 0)
    for number in (photo, library.draw(rng)):
        crop = torch.from_numpy(library.crop(number, _SIDE, rng)).permute(2, 0, 1).float() / 255
        image = blur(crop, 6.0)[None].expand(len(SAID), -1, -1, -1)
        columns += [spread(image), *zoom(generator, image, SAID, words, _STEPS, shelf)]
    torch.set_rng_state(state)
    rows = torch.cat(columns, 3)
    sheet: Image = torch.cat(list(rows), 1).clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
    (folder / "pictures").mkdir(exist_ok=True)
    write_png(folder / "pictures" / f"step-{step:06d}.png", sheet)
    return sheet


def _nearest(texts: list[str], word: str) -> int:
    """The number of a sentence: the word itself, or the first that has it, or the first of all."""
    if word in texts:
        return texts.index(word)
    return next((number for number, text in enumerate(texts) if word in text), 0)
