"""Colour differences against published pairs; consistency and drift of known changes."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.correctors.consistency import CAP_DB, project, shrink
from chainzoom.evaluation.metrics.agreement import ciede2000, colour_drift, consistency_end, consistency_step, lab, prompt_effect
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.images import clip, resize
from tests.conftest import natural

# Lab pairs and differences printed by Sharma, Wu and Dalal (2005), table 1: the hard cases are hues around 180 degrees and greys.
PAIRS = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, -0.001, 2.49), (50.0, 0.0009, -2.49), 4.8045),
    ((50.0, -0.001, 2.49), (50.0, 0.0011, -2.49), 4.7461),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (50.0, 3.1736, 0.5854), 1.0000),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.441), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("a", "b", "expected"), PAIRS)
def test_published_differences(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert ciede2000(np.array(a), np.array(b)) == pytest.approx(expected, abs=1e-4)
    assert ciede2000(np.array(b), np.array(a)) == pytest.approx(expected, abs=1e-4)


def test_lab_of_known_colours() -> None:
    colours = np.array([[[1, 1, 1], [0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5]]], np.float32)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [53.39, 0, 0]]
    assert lab(colours)[0] == pytest.approx(np.array(expected), abs=0.02)


def test_consistency_of_a_projected_state_is_high_and_of_another_picture_low() -> None:
    zoomed = natural(32, 32)
    state = project(clip(resize(zoomed, (128, 128))), zoomed)
    good, bad = (consistency_step(Sample(image, 4.0, zoomed=zoomed)) for image in (state, natural(128, 128, seed=9)))
    assert good is not None
    assert bad is not None
    assert good > 55
    assert bad < 20
    assert consistency_step(Sample(state, 4.0)) is None


def test_consistency_of_a_known_offset() -> None:
    origin = np.full((2, 2, 3), 0.4, np.float32)
    state = np.full((64, 64, 3), 0.5, np.float32)
    assert consistency_end(Sample(state, 32.0, origin=origin)) == pytest.approx(20.0, abs=1e-3)
    assert consistency_end(Sample(np.full((64, 64, 3), 0.4, np.float32), 32.0, origin=origin)) == CAP_DB


def test_drift_is_the_colour_difference_after_shrinking() -> None:
    origin = np.full((2, 2, 3), 0.4, np.float32)
    state = np.full((64, 64, 3), 0.5, np.float32)
    state[::2] += np.float32(0.05)
    state[1::2] -= np.float32(0.05)  # texture alone is no drift
    expected = float(ciede2000(lab(shrink(state, (2, 2))), lab(origin)).mean())
    plain = float(ciede2000(lab(np.full((1, 1, 3), 0.5, np.float32)), lab(origin[:1, :1])).mean())
    measured = colour_drift(Sample(state, 32.0, origin=origin))
    assert measured == pytest.approx(expected)
    assert measured == pytest.approx(plain, rel=0.02)
    assert colour_drift(Sample(state, 32.0)) is None


def test_prompt_effect() -> None:
    image = natural(32, 32)
    assert prompt_effect(Sample(image, 4.0, rival=image)) == 0
    effect = prompt_effect(Sample(image, 4.0, rival=clip(image + np.float32(0.1))))
    assert effect is not None
    assert effect > 3
    assert prompt_effect(Sample(image, 4.0)) is None
    assert prompt_effect(Sample(image, 4.0, rival=image[:16])) is None
