"""What a finished run hands to its report, and how its figures are worded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chainzoom.errors import OptionError
from chainzoom.images import Image
from chainzoom.weights import Weights

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1)."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One state of the chain with everything its label needs.

    index                  position in the chain, from 0
    image                  (H, W, 3) float32 RGB in [0, 1]
    scale                  output pixels per source pixel
    region                 what it shows, in source pixels; inside the previous state's region
    synthesised            False: the photo's own pixels, resampled; True: made by the backbone
    prompt, prompt_source  words that steered the step and who wrote them
    tags                   (word, confidence in [0, 1]) pairs behind the prompt
    shares, why            (part, share in [0, 1]) pairs of a backbone of several parts, and what it says of its choice
    consistency_raw, consistency_corrected
                           PSNR in dB of the state shrunk back against what it zoomed into, before and after correction; None: not measured
    seconds                time by part of the step (``prompt``, ``sr``, ``total``, ...)
    file                   the state's picture, relative to the report
    """

    index: int
    image: Image
    scale: float
    region: Box
    synthesised: bool
    prompt: str = ""
    prompt_source: str = ""
    tags: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    backbone: str = ""
    seed: int = 0
    consistency_raw: float | None = None
    consistency_corrected: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    file: str = ""
    shares: tuple[tuple[str, float], ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What holds for the run as a whole.

    ``at`` is in fractions of the photo, ``synthesised_from`` the first scale that is not real pixels (None: all are).
    """

    source_name: str
    source_sha256: str
    width: int
    height: int
    preset: str
    mode: str
    protocol: str
    at: tuple[float, float]
    to: float
    seed: int
    version: str
    synthesised_from: float | None = None
    weights: tuple[Weights, ...] = ()
    notes: tuple[str, ...] = ()


def check_frames(frames: Sequence[Frame]) -> None:
    """Raise OptionError unless there is a state and every region and scale can be drawn."""
    if not frames:
        raise OptionError("a report needs at least one state, none came; run the chain first")
    for frame in frames:
        x0, y0, x1, y1 = frame.region
        if not (x1 > x0 and y1 > y0 and frame.scale > 0 and frame.image.ndim == 3 and frame.image.shape[2] == 3 and frame.image.size):
            raise OptionError(
                f"state {frame.index}: expected an image (H, W, 3), a region x0 < x1, y0 < y1 and a scale > 0, "
                f"got {frame.image.shape}, {frame.region} and {frame.scale}"
            )


def scale_text(scale: float) -> str:
    """``4x``, ``0.34x``, ``2.7x``: whole numbers as they are, others with up to two decimals."""
    if abs(scale - round(scale)) < 0.005 and scale >= 0.995:
        return f"{round(scale)}x"
    return (f"{scale:.2f}".rstrip("0") if scale >= 0.01 else f"{scale:.1g}") + "x"


def db_text(value: float | None) -> str:
    """``47.2 dB``; an exact match is ``exact``, a missing figure a dash."""
    if value is None or math.isnan(value):
        return "–"
    return "exact" if math.isinf(value) else f"{value:.1f} dB" if value < 100 else "over 100 dB"


def shares_text(shares: Iterable[tuple[str, float]]) -> str:
    """``realesrgan 83 %, pocket 17 %``; parts that made nothing are left out."""
    return ", ".join(f"{name} {min(max(round(100 * share), 1), 99) if share < 1 else 100} %" for name, share in shares if share > 0)


def kind_text(frame: Frame) -> str:
    """``real pixels`` or ``synthesised``."""
    return "synthesised" if frame.synthesised else "real pixels"


def origin_text(frames: Sequence[Frame]) -> str:
    """One honest sentence on how far the photo's own pixels reach."""
    made = [frame.scale for frame in frames if frame.synthesised]
    real = [frame.scale for frame in frames if not frame.synthesised]
    if not made:
        return "Real pixels throughout; nothing is synthesised."
    if not real:
        return f"Synthesised from {scale_text(min(made))} on."
    return f"Real pixels up to {scale_text(max(real))}; synthesised from {scale_text(min(made))} on."


def box_in(parent: Frame, child: Frame) -> Box:
    """Where ``child`` lies in ``parent``, in fractions of the parent's picture, kept inside [0, 1]."""
    x0, y0, x1, y1 = parent.region
    a0, b0, a1, b1 = child.region

    def unit(value: float) -> float:
        return min(max(value, 0.0), 1.0)

    return unit((a0 - x0) / (x1 - x0)), unit((b0 - y0) / (y1 - y0)), unit((a1 - x0) / (x1 - x0)), unit((b1 - y0) / (y1 - y0))
