from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.interpolation import Bicubic
from chainzoom.chain import Chain
from chainzoom.correctors.consistency import consistency_db
from chainzoom.errors import OptionError
from chainzoom.images import Image, clip, resize
from chainzoom.prompters.base import Prompt, View
from chainzoom.sources import ArraySource
from chainzoom.windows import Index, NoiseField, Planes, Tiling, WindowCache
from chainzoom.windows.grid import Axis
from chainzoom.windows.planes import ALGORITHM
from tests.conftest import EchoPrompter, NoisyBackbone, natural

PHOTO = ArraySource.of(natural(100, 150))
SMALL = Tiling(core=32, halo=8, ramp=4, cell=8, margin=8)
Box = tuple[int, int, int, int]
STAMPS = [0.63431, 0.10019, 0.03343, 0.54303, 0.07795, 0.03672]


def planes(seed: int = 0, cache: WindowCache | None = None, photo: ArraySource = PHOTO, batch: int = 8, **settings: object) -> Planes:
    chain = Chain(NoisyBackbone(), EchoPrompter(True), size=128, **settings)  # type: ignore[arg-type]
    return Planes(photo, chain, seed=seed, tiling=SMALL, cache=cache, batch=batch)


def boxes(count: int, size: tuple[int, int], side: int = 70) -> list[Box]:
    rng = np.random.default_rng(1)
    corners = [(int(rng.integers(size[0] - side)), int(rng.integers(size[1] - side))) for _ in range(count)]
    return [(x, y, x + side, y + side) for x, y in corners]


@pytest.mark.parametrize("settings", [{}, {"consistency": 0.0}, {"align": "adain"}, {"mode": "bicubic"}])
def test_any_order_gives_the_same_pixels(settings: dict[str, object]) -> None:
    first = planes(**settings)
    whole = first.read(1, (0, 0, 600, 400))
    assert whole.shape == (400, 600, 3)
    other = planes(batch=1, **settings)
    for x0, y0, x1, y1 in boxes(4, (600, 400)):
        np.testing.assert_array_equal(other.read(1, (x0, y0, x1, y1)), whole[y0:y1, x0:x1])
    deep = [(4000, 3000, 4100, 3100), (4050, 2960, 4120, 3060)]
    there, back = ([maker.read(3, box) for box in order] for maker, order in ((planes(**settings), deep), (planes(**settings), deep[::-1])))
    np.testing.assert_array_equal(there[0], back[1])
    np.testing.assert_array_equal(there[1], back[0])
    np.testing.assert_array_equal(there[0][:60, 50:], there[1][40:, :50])


def test_the_algorithm_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = planes().identity()
    monkeypatch.setattr("chainzoom.windows.planes.ALGORITHM", ALGORITHM + 1)
    assert planes().identity() != before


def test_another_algorithm_has_another_number() -> None:
    # Means of 40 x 40 pixels where four windows meet, on the first two levels. Whoever changes them raises ALGORITHM and writes both here.
    found = [planes().read(number, box) for number, box in ((1, (140, 140, 180, 180)), (2, (1036, 652, 1076, 692)))]
    stamps = [float(value) for image in found for value in (image.mean(), image.std(), np.abs(np.diff(image, axis=1)).mean())]
    assert (ALGORITHM, stamps) == (13, pytest.approx(STAMPS, abs=2e-4))


def test_a_stale_window_file_is_made_again(tmp_path: Path) -> None:
    box = (100, 100, 200, 200)
    first = planes(cache=WindowCache(1, tmp_path)).read(1, box)
    files = sorted(tmp_path.glob("*.npy"))
    assert files
    for file in files:
        np.save(file, np.zeros((3, 3, 3), np.uint16))
    np.testing.assert_array_equal(planes(cache=WindowCache(1, tmp_path)).read(1, box), first)


def test_a_forgetful_cache_changes_nothing() -> None:
    box = (1000, 700, 1300, 1000)
    forgetful = planes(cache=WindowCache(memory=1))
    plain = planes()
    np.testing.assert_array_equal(forgetful.read(2, box), plain.read(2, box))
    assert sum(forgetful.made.values()) > sum(plain.made.values())


def test_seed_words_and_photo_change_the_pixels() -> None:
    box = (100, 100, 200, 200)
    made = planes().read(1, box)
    others = [planes(seed=1), planes(user_prompt="two cats"), planes(photo=ArraySource.of(np.ascontiguousarray(PHOTO.image[::-1])))]
    for other in others:
        assert not np.array_equal(made, other.read(1, box))
    names = {plane.identity() for plane in (planes(), *others, planes(consistency=0.5), planes(align="wavelet"))}
    assert len(names) == 6
    assert planes().identity() == planes().identity() != planes().identity({"threads": 1})


def test_a_level_shrinks_back_to_the_one_below() -> None:
    made = planes()
    assert consistency_db(made.read(1, (0, 0, 600, 400)), PHOTO.image) > 60
    box = (800, 800, 1200, 1200)
    inner = consistency_db(made.read(2, box)[64:-64, 64:-64], made.read(1, (216, 216, 284, 284)))
    assert inner > 40


@pytest.mark.parametrize(("generative", "most"), [(False, 4), (True, 6)])
def test_a_cold_tile_at_256x_costs_a_few_windows_a_level(generative: bool, most: int) -> None:
    tiling = Tiling.of(replace(Bicubic().facts, generative=generative))
    made = Planes(ArraySource.of(natural(653, 911)), Chain(Bicubic(), None), tiling=tiling)
    columns, rows = (side // 256 for side in made.size(4))
    rng = np.random.default_rng(0)
    for turn in range(90):  # a third of them near the right end, where the last windows are moved back, a third near the bottom
        column = columns - 1 - int(rng.integers(12)) if turn % 3 == 0 else int(rng.integers(columns))
        row = rows - 1 - int(rng.integers(12)) if turn % 3 == 1 else int(rng.integers(rows))
        box = (column * 256, row * 256, column * 256 + 256, row * 256 + 256)
        counts = {level: len(found) for level, found in made.windows_for(4, box).items()}
        assert all(count <= most for count in counts.values()), (box, counts)
    made.read(4, box)
    assert made.made == counts


def gradient_ratio(image: Image, axis: Axis, start: int) -> float:
    """Mean gradient across the cross-fades of vertical joins against that beside them."""
    profile = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
    inside = np.zeros(len(profile), bool)
    for number in range(1, axis.count):
        inside[max(0, axis.kept(number)[0] - start) : max(0, axis.kept(number - 1)[1] - 1 - start)] = True
    return float(profile[inside].mean() / profile[~inside].mean())


@pytest.mark.parametrize("backbone", [NoisyBackbone(), NoisyBackbone(noise=0)])
def test_no_stripe_shows_where_windows_meet(backbone: NoisyBackbone) -> None:
    # What two windows do not share would lose a sixth of its gradient in a plain cross-fade.
    photo = ArraySource.of(np.ascontiguousarray(np.broadcast_to(np.linspace(0.2, 0.8, 300, dtype=np.float32)[:, None], (60, 300, 3))))
    made = Planes(photo, Chain(backbone, None), tiling=SMALL)
    assert gradient_ratio(made.read(1, (0, 0, 1200, 240)), made.level(1).columns, 0) == pytest.approx(1, abs=0.05)


class Drifting(NoisyBackbone):
    """The same fine detail everywhere, and coarser detail of each window's own, as networks have that see where their input ends."""

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        big = resize(image, (image.shape[1] * 4, image.shape[0] * 4), "bicubic")
        x, y = origin[0] * 4, origin[1] * 4
        fine = noise.read(x, y, x + big.shape[1], y + big.shape[0], 3)
        own = resize(np.random.default_rng(x + 7 * y).standard_normal(image.shape).astype(np.float32), big.shape[1::-1], "bicubic")
        return clip(big + np.float32(0.005) * fine + np.float32(0.04) * own)


def test_no_line_shows_where_windows_meet() -> None:
    photo = ArraySource.of(np.full((150, 400, 3), 0.5, np.float32))
    made = Planes(photo, Chain(Drifting(), None, consistency=0.0), tiling=replace(SMALL, ramp=8))
    profile = np.abs(np.diff(made.read(1, (0, 0, 1600, 600)), axis=1)).mean(axis=(0, 2))
    axis = made.level(1).columns
    middles = [(axis.kept(number)[0] + axis.kept(number - 1)[1]) // 2 for number in range(1, axis.count)]
    line = np.mean([profile[middle - 1] for middle in middles])
    near = np.mean([profile[middle - 1 + 4 * step] for middle in middles for step in (-2, -1, 1, 2)])  # enlarged pixels repeat every 4
    assert line / near == pytest.approx(1, abs=0.15)  # with one cut for all that is finer than the widest fade: 1.37


def test_bicubic_windows_are_bicubic_interpolation_without_a_seam() -> None:
    made = Planes(PHOTO, Chain(Bicubic(), None, consistency=0), tiling=SMALL)
    direct = clip(resize(PHOTO.image, (600, 400), "bicubic"))
    assert np.abs(made.read(1, (0, 0, 600, 400)) - direct).max() < 2e-5  # windows are kept at 16 bits


class Loud(EchoPrompter):
    """Says different words for every window, as many letters as the window's column says."""

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        self.views.extend(views)
        return [Prompt("x" * (view.seed % 7), "loud") for view in views]


def test_different_words_side_by_side_make_no_edge() -> None:
    # The backbone answers each word with another brightness, up to 0.06; consistency and the cross-fade must take the steps away.
    photo = ArraySource.of(natural(60, 300))
    chain = Chain(NoisyBackbone(noise=0), Loud())
    made = Planes(photo, chain, tiling=SMALL, inherit=False)
    image = made.read(1, (0, 0, 1200, 240))
    assert len({prompt.text for prompt in made.describe([Index(1, 0, column) for column in range(8)])}) > 3
    level = made.level(1)
    quiet = Planes(photo, Chain(NoisyBackbone(noise=0), None), tiling=SMALL).read(1, (0, 0, 1200, 240))
    assert gradient_ratio(image, level.columns, 0) == pytest.approx(gradient_ratio(quiet, level.columns, 0), rel=0.05)


def test_the_prompter_sees_parent_crop_and_history_in_batches() -> None:
    prompter = EchoPrompter(True)
    made = Planes(PHOTO, Chain(NoisyBackbone(), prompter, size=64), tiling=SMALL, inherit=False)
    made.read(2, (1000, 700, 1100, 800))
    whole, square = prompter.views[:2]
    assert (whole.parent, whole.crop.shape) == (None, (43, 64, 3))
    assert square.parent is not None
    assert (square.scale, square.factor, len(square.history)) == (1, 1, 1)
    last = prompter.views[-1]
    assert last.parent is not None
    assert (last.scale, last.factor, len(last.history)) == (16, 4, 3)
    assert last.crop.shape == (192, 192, 3)
    before = len(prompter.views)
    (prompt, *_) = made.describe([Index(2, 5, 7), Index(2, 5, 8)])
    assert prompt.text.startswith("words")
    assert len(prompter.views) - before <= 2


def test_words_are_not_asked_for_a_backbone_that_reads_none() -> None:
    prompter = EchoPrompter(True)
    made = Planes(PHOTO, Chain(Bicubic(), prompter), tiling=SMALL)
    made.read(1, (0, 0, 200, 200))
    assert not prompter.views
    assert made.describe([Index(1, 0, 0)])[0].text
    assert Planes(PHOTO, Chain(Bicubic(), None)).describe([Index(1, 0, 0)]) == [Prompt("", "null")]


def test_any_scale_can_be_read() -> None:
    made = planes()
    assert made.size_at(10) == (1500, 1000)
    assert (made.level_for(10), made.level_for(16), made.level_for(0.5)) == (2, 2, 0)
    box = (300, 300, 420, 400)
    np.testing.assert_array_equal(made.read_at(4, box), made.read(1, box))
    whole = clip(resize(made.read(1, (0, 0, 600, 400)), (300, 200), "lanczos"))
    np.testing.assert_allclose(made.read_at(2, (50, 60, 110, 160)), whole[60:160, 50:110], atol=1e-5)
    assert made.read_at(0.5, (0, 0, 75, 50)).shape == (50, 75, 3)


def test_scale_two_backbones_and_tiny_photos() -> None:
    chain = Chain(NoisyBackbone(scale=2, multiple=8, min_size=64), None)
    made = Planes(ArraySource.of(natural(20, 17)), chain)
    assert made.size(3) == (136, 160)
    assert made.read(3, (0, 0, 136, 160)).shape == (160, 136, 3)
    assert made.made == {1: 1, 2: 1, 3: 1}


def test_what_has_no_planes_is_refused() -> None:
    for settings in ({"mode": "onestep"}, {"protocol": "paper"}):
        with pytest.raises(OptionError):
            planes(**settings)
    for box in ((0, 0, 601, 1), (5, 5, 5, 9), (-1, 0, 4, 4)):
        with pytest.raises(OptionError, match="level 1 has 600 x 400"):
            planes().read(1, box)


def test_facts_decide_the_tiling() -> None:
    backbone = NoisyBackbone()
    backbone.facts = BackboneFacts("g", generative=True)
    assert Planes(PHOTO, Chain(backbone, None, size=256)).tiling.window == 64


def test_the_prompter_is_told_where_in_the_parent_a_window_lies() -> None:
    watching = EchoPrompter(True)
    made = Planes(PHOTO, Chain(NoisyBackbone(), watching, size=128), tiling=SMALL)
    made.describe([Index(2, 5, 7), Index(2, 5, 8)])
    placed = [view for view in watching.views if view.parent is not None]
    assert len(placed) >= 3
    for view in placed:
        assert view.place is not None
        # The crop holds what the parent shows at this place, and not a little beside it; blended there, hence not to the last bit.
        assert _misfit(view, 0.0) < 0.6 * min(_misfit(view, 0.06), _misfit(view, -0.06))


def _misfit(view: View, aside: float) -> float:
    """How far the crop is from what the parent shows at its place, moved aside by a share of the parent's width."""
    assert view.place is not None
    assert view.parent is not None
    left, top, right, bottom = view.place
    height, width = view.parent.shape[:2]
    box = ((left + aside) * width, top * height, (right + aside) * width, bottom * height)
    if box[0] < 0 or box[2] > width:
        return float("inf")
    return float(np.abs(resize(view.parent, (view.crop.shape[1], view.crop.shape[0]), "bicubic", box) - view.crop).mean())
