"""Prompt quality: does the prompt loop, and does it talk about the pictures instead of what they show (paper section 3.3)?"""

from __future__ import annotations

from chainzoom.evaluation.metrics.base import Sample
from chainzoom.prompters.quality import VIEWPOINT_PHRASES, repetition


def repeated_words(sample: Sample) -> float | None:
    """Share of repeated word triples of the prompt; None where nobody spoke."""
    return repetition(sample.prompt) if sample.prompt else None


def viewpoint_phrase(sample: Sample) -> float | None:
    """1 when the prompt talks about the pictures ("the second image shows ..."), else 0; None where nobody spoke."""
    return float(VIEWPOINT_PHRASES.search(sample.prompt) is not None) if sample.prompt else None
