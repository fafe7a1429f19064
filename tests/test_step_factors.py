"""Steps of other factors than 4: the ladder, the plan, and a chain that walks it."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom import Chain
from chainzoom.errors import OptionError
from chainzoom.images import Image
from chainzoom.regions import plan_paper, step_factors, synthetic_ladder
from chainzoom.settings import Settings
from tests.conftest import NoisyBackbone


@pytest.mark.parametrize(
    ("factors", "to", "expected"),
    [
        ((4.0,), 256, [1, 4, 16, 64, 256]),
        ((2.0,), 16, [1, 2, 4, 8, 16]),
        ((4.0, 2.0), 64, [1, 4, 8, 32, 64]),
        ((4.0, 2.0), 4096, [1, 4, 8, 32, 64, 256, 512, 2048, 4096]),
    ],
)
def test_ladder(factors: tuple[float, ...], to: float, expected: list[float]) -> None:
    assert synthetic_ladder(to, factors) == expected


def test_last_step_is_shared_when_it_is_less_than_the_root_of_its_factor() -> None:
    assert synthetic_ladder(20.0) == [1, 4, pytest.approx(80**0.5), 20]
    assert synthetic_ladder(9.0, (2.0,)) == [1, 2, 4, 6, 9]


def test_two_times_steps_reach_the_same_region() -> None:
    by_four, by_two = (plan_paper(600, 512, (0.5, 0.5), 256, factors=factors) for factors in ((4.0,), (2.0,)))
    assert by_two[-1].region.as_tuple() == by_four[-1].region.as_tuple()
    assert [state.scale for state in by_two] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(state.move.crop == (128, 128, 384, 384) for state in by_two[1:] if state.move)


def test_a_chain_walks_them(photo: Image) -> None:
    backbone = NoisyBackbone()
    steps = list(Chain(backbone, protocol="paper", size=64, step="2", consistency=1.0).run(photo, to=8))
    assert [step.scale for step in steps] == [1, 2, 4, 8]
    assert {call[0] for call in backbone.calls} == {(32, 32, 3)}
    assert all(step.image.shape == (64, 64, 3) and np.isfinite(step.image).all() for step in steps)


@pytest.mark.parametrize("text", ["", "x", "1", "0", "5", "4,,2", "nan"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--step takes factors"):
        Settings(step=text)


def test_factors_from_text() -> None:
    assert step_factors("4, 2") == (4.0, 2.0)
    assert step_factors("auto") == (4.0,)
