"""Fixed pictures through the network under training, as the inference backbone would make them: figures, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chainzoom.backbones.torch_common import seeded_noise, to_images, to_tensor
from chainzoom.correctors.consistency import shrink
from chainzoom.evaluation.metrics import load_metrics
from chainzoom.evaluation.metrics.base import Sample as Measured
from chainzoom.images import Image
from chainzoom.pictures import write_png
from chainzoom.seeds import derive
from chainzoom.training.runs import Writer
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.data import Sample, centre_crop, shown
from chainzoom.training.sr.degradation import SCALE, degrade
from chainzoom.training.sr.objective import laplacian
from chainzoom.training.sr.sources import Entry, enlarged

ALWAYS = ("consistency-step",)
"""Logged beside whatever was asked for: quality without it can be gamed."""
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One validation picture: what goes in, what should come out (both (H, W, 3)), and the words."""

    name: str
    lq: Image
    gt: Image
    prompt: str


def make_cases(entries: Sequence[Entry], config: Config, words: Callable[[list[Sample]], list[str]]) -> list[Case]:
    """The first pictures, cut in the middle, degraded as the last stage does; the inputs have 8 bits, so a PNG holds them exactly."""
    samples, pictures = [], []
    for number, entry in enumerate(entries[: config.validation.count]):
        photo = enlarged(entry.read(), config.data.crop)
        gt = np.ascontiguousarray(centre_crop(photo, config.data.crop))
        seed = derive(config.seed, "validation", number)
        lq = degrade(torch.from_numpy(gt.transpose(2, 0, 1).copy()), config.stages[-1].degradation, seed)
        seen = gt if config.prompts.sees == "crop" else shown(photo)
        caption = entry.caption() if config.prompts.name == "sidecar" else ""
        name = f"{entry.name}#validation" if config.prompts.sees == "crop" else entry.name
        samples.append(Sample(lq, lq, "", seed, name, caption, seen))
        pictures.append((entry.name, np.ascontiguousarray(lq.numpy().transpose(1, 2, 0)), gt))
    return [Case(name, lq, gt, prompt) for (name, lq, gt), prompt in zip(pictures, words(samples), strict=True)]


def validate(
    cases: Sequence[Case], config: Config, run: Callable[..., Any], encode: Callable[..., Any], channels: int, device: torch.device
) -> list[Image]:
    """The network's picture of each case with seed ``SEED``; ``run`` is the wrapped recipe, called by all processes."""
    outputs: list[Image] = []
    side = config.data.crop // 8
    for case in cases:
        noise = seeded_noise((channels, side, side), [SEED]).to(device)
        with torch.no_grad():
            pixels = run("infer", lq=to_tensor([case.lq]).to(device), words=encode([case.prompt]), noise=noise)
        outputs += to_images(pixels)
    return outputs


def report(cases: Sequence[Case], outputs: Sequence[Image], config: Config, folder: Path, step: int, writer: Writer) -> dict[str, float]:
    """Figures (means over the cases) and pictures (input, output, truth side by side) to the log, and files to ``pictures/``."""
    metrics = load_metrics([*dict.fromkeys([*config.validation.metrics, *ALWAYS])])
    side = config.data.crop // SCALE
    found: dict[str, list[float]] = {}
    place = folder / "pictures" / f"step-{step:06d}"
    place.mkdir(parents=True, exist_ok=True)
    for number, (case, output) in enumerate(zip(cases, outputs, strict=True)):
        sample = Measured(output, float(SCALE), zoomed=np.clip(shrink(case.lq, (side, side)), 0, 1), reference=case.gt, prompt=case.prompt)
        for metric in metrics:
            value = metric.measure(sample)
            if value is not None:
                found.setdefault(f"validation/{metric.name}", []).append(value)
        found.setdefault("validation/detail-ratio", []).append(_detail(output) / max(_detail(case.gt), 1e-12))
        writer.picture(step, f"validation/{number}", np.concatenate([case.lq, output, case.gt], axis=1))
        write_png(place / f"{number}-input.png", case.lq)
        write_png(place / f"{number}-output.png", output)
        write_png(place / f"{number}-truth.png", case.gt)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    writer.scalars(step, means)
    return means


def _detail(image: Image) -> float:
    return float(laplacian(torch.from_numpy(image.transpose(2, 0, 1).copy())[None]))
