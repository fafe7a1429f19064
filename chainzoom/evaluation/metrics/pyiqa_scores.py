"""The paper's scores through pyiqa: an optional extra whose licence is non-commercial and whose weights come from a hub.

Figures of different pyiqa versions are not the same figures, so one version is asked for and written into the results.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

import numpy as np

from chainzoom.errors import BackendError, MissingExtraError, OptionError
from chainzoom.evaluation.metrics.base import Better, Metric, Sample
from chainzoom.evaluation.metrics.fidelity import checked_reference

PINNED = "0.1.16"
LICENCE = "pyiqa: PolyForm Noncommercial 1.0.0 and NTU S-Lab Licence 1.0 (no commercial use)"

SCORES: dict[str, tuple[str, Better, float, int]] = {
    "niqe": ("NIQE (pyiqa)", "lower", 100.0, 2),
    "musiq": ("MUSIQ", "higher", 0.0, 2),
    "maniqa-pipal": ("MANIQA", "higher", 0.0, 4),
    "clipiqa": ("CLIPIQA", "higher", 0.0, 4),
    "lpips": ("LPIPS (pyiqa)", "lower", 1.0, 3),
    "dists": ("DISTS (pyiqa)", "lower", 1.0, 3),
    "piqe": ("PIQE", "lower", 100.0, 2),
}
"""pyiqa name -> label, direction, what a failed run is charged, digits. The first four are the paper's."""

WITH_REFERENCE = frozenset({"lpips", "dists"})


def pyiqa_metric(name: str) -> Metric:
    """A pyiqa score as a Metric named ``pyiqa-NAME``; pyiqa and its weights are loaded on first use.

    Raises OptionError for a name that is not in SCORES or another version than PINNED, MissingExtraError without pyiqa.
    """
    if name not in SCORES:
        raise OptionError(f"pyiqa scores taken here are {', '.join(SCORES)}; got '{name}'")
    label, better, failure, digits = SCORES[name]
    return Metric(
        f"pyiqa-{name}",
        label,
        better,
        failure,
        _Score(name),
        f"{label} as pyiqa computes it on the full RGB picture.",
        licence=LICENCE,
        version=f"pyiqa {check_version()}",
        digits=digits,
        needs="reference" if name in WITH_REFERENCE else "",
    )


def check_version() -> str:
    """The installed version. Raises MissingExtraError without pyiqa and OptionError for another version than PINNED."""
    try:
        found = metadata.version("pyiqa")
    except metadata.PackageNotFoundError:
        raise MissingExtraError("the paper's scores (MUSIQ, MANIQA, CLIPIQA; non-commercial licence)", "pyiqa", "pyiqa") from None
    if found != PINNED:
        raise OptionError(f"expected pyiqa {PINNED}, found {found}: other versions give other figures; pip install pyiqa=={PINNED}")
    return found


class _Score:
    """Calls one pyiqa metric on (1, 3, H, W) in [0, 1]."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._metric: Any = None

    def __call__(self, sample: Sample) -> float | None:
        pictures = [sample.image]
        if self._name in WITH_REFERENCE:
            reference = checked_reference(sample)
            if reference is None:
                return None
            pictures.append(reference)
        if self._metric is None:
            self._metric = _created(self._name)
        torch = import_module("torch")
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))[None]) for picture in pictures]
            return float(self._metric(*tensors))


def _created(name: str) -> Any:
    try:
        return import_module("pyiqa").create_metric(name, device="cpu")
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise BackendError(
            f"pyiqa could not load '{name}' ({type(error).__name__}: {text}); its weights come from a hub: fetch them where there is one, "
            "or leave the pyiqa scores out"
        ) from error
