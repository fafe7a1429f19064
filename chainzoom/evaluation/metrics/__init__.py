"""Every figure that an evaluation can give, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.agreement import colour_drift, consistency_end, consistency_raw, consistency_step, prompt_effect
from chainzoom.evaluation.metrics.base import Metric, Sample
from chainzoom.evaluation.metrics.fidelity import psnr, ssim
from chainzoom.evaluation.metrics.niqe import niqe
from chainzoom.evaluation.metrics.perceptual import Dists, Lpips
from chainzoom.evaluation.metrics.pyiqa_scores import SCORES, pyiqa_metric
from chainzoom.evaluation.metrics.texture import detail, grid, repetition
from chainzoom.evaluation.metrics.words import repeated_words, viewpoint_phrase


def _niqe(sample: Sample) -> float:
    return niqe(sample.image)


CLEAN: tuple[Metric, ...] = (
    Metric("niqe", "NIQE", "lower", 100.0, _niqe, "Distance from the local statistics of pristine photos; blind to invented texture."),
    Metric(
        "consistency-step",
        "Consistency, step (dB)",
        "higher",
        0.0,
        consistency_step,
        "PSNR between the state, shrunk by its own step, and what it zoomed into.",
        digits=1,
    ),
    Metric(
        "consistency-raw",
        "Consistency, raw (dB)",
        "higher",
        0.0,
        consistency_raw,
        "The same for the backbone's own output, before any correction.",
        digits=1,
    ),
    Metric(
        "consistency-end",
        "Consistency, whole zoom (dB)",
        "higher",
        0.0,
        consistency_end,
        "PSNR between the state, shrunk by the whole zoom, and the part of the photo that it shows.",
        digits=1,
    ),
    Metric(
        "colour-drift",
        "Colour drift (ΔE00)",
        "lower",
        100.0,
        colour_drift,
        "Mean CIEDE2000 after shrinking by the whole zoom; 1 is just visible.",
    ),
    Metric("detail", "Detail", "one", 0.0, detail, "High-band amplitude for the contrast, as a multiple of natural photos'.", version="2"),
    Metric(
        "repetition",
        "Repetition",
        "lower",
        1.0,
        repetition,
        "Share of the texture in isolated spectral peaks: 1 is a pure pattern.",
        digits=3,
    ),
    Metric(
        "grid",
        "Grid",
        "lower",
        1.0,
        grid,
        "Share of the changes along rows or columns that repeat with one period of 3 to 64 pixels.",
        version="2",
    ),
    Metric("psnr", "PSNR (dB)", "higher", 0.0, psnr, "Against true pixels; 4x only.", digits=2, needs="reference"),
    Metric("ssim", "SSIM", "higher", 0.0, ssim, "Against true pixels, luma; 4x only.", digits=3, needs="reference"),
    Metric(
        "prompt-repeats",
        "Repeated word triples",
        "lower",
        1.0,
        repeated_words,
        "Share of repeated word triples of the prompt.",
        digits=3,
        needs="words",
    ),
    Metric(
        "prompt-viewpoint",
        "Viewpoint phrases",
        "lower",
        1.0,
        viewpoint_phrase,
        "Share of prompts that talk about the pictures.",
        digits=3,
        needs="words",
    ),
    Metric(
        "prompt-effect",
        "Prompt effect (ΔE00)",
        "higher",
        0.0,
        prompt_effect,
        "Mean CIEDE2000 between the state and the same run without words: how far words move the picture. Neither good nor bad.",
        needs="rival",
    ),
)
"""The licence-clean set: no hub, no torch."""

_ALIASES = {
    "default": tuple(metric.name for metric in CLEAN),
    "paper": ("pyiqa-niqe", "pyiqa-musiq", "pyiqa-maniqa-pipal", "pyiqa-clipiqa"),
}


def expand_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names with ``default`` and ``paper`` written out, each once. Raises OptionError for an unknown one."""
    whole = [name for given in names for name in _ALIASES.get(given, (given,))]
    known = [*_ALIASES["default"], "lpips", "dists", *(f"pyiqa-{name}" for name in SCORES)]
    for name in whole:
        if name not in known:
            raise OptionError(f"--metrics takes default, paper, or names of {', '.join(known)}; got '{name}'")
    return tuple(dict.fromkeys(whole))


def load_metrics(names: Sequence[str], weights: Path | None = None) -> tuple[Metric, ...]:
    """The metrics by name, in order. ``weights`` is the folder of the archives for LPIPS and DISTS.

    Raises OptionError, MissingExtraError (pyiqa), and WeightsError or MissingExtraError on first use of LPIPS and DISTS.
    """
    clean = {metric.name: metric for metric in CLEAN}
    return tuple(clean.get(name) or _optional(name, weights) for name in expand_names(names))


def _optional(name: str, weights: Path | None) -> Metric:
    if name.startswith("pyiqa-"):
        return pyiqa_metric(name.removeprefix("pyiqa-"))
    if weights is None:
        raise OptionError(
            f"{name} needs --perceptual-weights FOLDER with its archives; docs/evaluation.md says which, pyiqa-{name} is the other way"
        )
    if name == "lpips":
        return Metric(
            "lpips",
            "LPIPS",
            "lower",
            1.0,
            Lpips(weights),
            "Against true pixels, AlexNet 0.1; 4x only.",
            "BSD-2-Clause",
            digits=3,
            needs="reference",
        )
    return Metric("dists", "DISTS", "lower", 1.0, Dists(weights), "Against true pixels; 4x only.", "MIT", digits=3, needs="reference")
