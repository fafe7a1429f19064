from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.report import lettering
from chainzoom.report.lettering import Line, wrapped
from chainzoom.report.strip import _GAP, _HEADER, _LABEL, _MARGIN, THUMB, columns_for, render_strip


def thumb(sheet: np.ndarray, k: int) -> np.ndarray:
    left, top = _MARGIN + k * (THUMB + _GAP), _MARGIN + _HEADER
    return sheet[top : top + THUMB, left : left + THUMB].astype(int)


def plain(frames, value: float):
    return [replace(f, image=np.full((64, 64, 3), value, np.float32)) for f in frames]


def test_states_lie_side_by_side_and_wrap(chain, summary) -> None:
    assert [columns_for(n) for n in (1, 5, 7, 8, 9, 12, 13)] == [1, 5, 7, 4, 5, 6, 5]
    five = render_strip(chain(), summary)
    nine = render_strip(chain(scales=tuple(4.0**k for k in range(8))), summary)
    assert five.dtype == np.uint8
    assert five.shape[1] == 2 * _MARGIN + 5 * THUMB + 4 * _GAP
    assert nine.shape == (five.shape[0] + THUMB + _LABEL + _GAP, five.shape[1], 3)
    assert render_strip(chain()[:1], summary).shape[0] == five.shape[0]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_box_shows_on_any_ground_and_only_where_the_next_state_lies(chain, summary, value) -> None:
    frames = plain(chain(scales=(1, 4)), value)
    frames[0] = replace(frames[0], region=(0, 0, 100, 100))
    frames[1] = replace(frames[1], region=(20, 30, 60, 70))
    sheet = render_strip(frames[:2], summary)
    ground = round(value * 255)
    seen = np.abs(thumb(sheet, 0) - ground).max(axis=2) > 60
    rows, columns = np.where(seen)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((72, 108, 216, 252), abs=4)
    assert not seen[120:240, 90:200].any(), "the inside of the box must stay free"
    assert (thumb(sheet, 1) == ground).all(), "the last state has no box"


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("spot", [(50.0, 50.0), (0.0, 99.9)])
def test_tiny_box_gets_a_ring(chain, summary, value, spot) -> None:
    frames = plain(chain(scales=(1,)), value)
    frames[0] = replace(frames[0], region=(0, 0, 100, 100))
    frames[1] = replace(frames[1], region=(*spot, spot[0] + 0.1, spot[1] + 0.1))
    seen = np.abs(thumb(render_strip(frames, summary), 0) - round(value * 255)).max(axis=2) > 60
    assert seen.sum() > 60
    rows, columns = np.where(seen)
    assert abs(columns - spot[0] * 3.6).max() < 30
    assert abs(rows - spot[1] * 3.6).max() < 30


def test_box_at_the_border_is_drawn_whole(chain, summary) -> None:
    frames = plain(chain(scales=(1,)), 0.0)
    frames[0] = replace(frames[0], region=(0, 0, 100, 100))
    frames[1] = replace(frames[1], region=(0, 60, 40, 100))
    seen = thumb(render_strip(frames, summary), 0).max(axis=2) > 200
    assert seen[250, :6].any()
    assert seen[-6:, 70].any()


def test_labels_tell_kind_prompt_and_consistency(chain, summary) -> None:
    frames = chain(scales=(1,))
    label = slice(_MARGIN + _HEADER + THUMB, None)
    before = render_strip(frames, summary)
    for change in ({"scale": 4.0}, {"synthesised": True}, {"prompt": "grass"}, {"consistency_corrected": 47.2}):
        after = render_strip([frames[0], replace(frames[1], **change)], summary)
        assert (after[label] != before[label]).any(), change


def test_few_pixels_are_shown_as_squares(chain, summary) -> None:
    frame = chain()[0]
    checks = np.indices((4, 4)).sum(axis=0) % 2
    tiny = replace(frame, image=np.repeat(checks[..., None], 3, axis=2).astype(np.float32))
    assert set(np.unique(thumb(render_strip([tiny], summary), 0))) == {0, 255}


def test_text_keeps_to_its_room_and_survives_any_script(chain, summary, monkeypatch) -> None:
    line = Line.of("a very long prompt " * 20, 17).fitted(200)
    assert line.text.endswith("…")
    assert line.width <= 200
    lines = wrapped("one two three four five six seven eight nine ten " * 3, 17, 200, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(Line.of(text, 17).width <= 200 for text in [*lines, *wrapped("x" * 500, 17, 200, 2)])
    assert wrapped("", 17, 200, 2) == []
    monkeypatch.setattr(lettering, "_FACES", ("",))
    assert Line.of("caf\u00e9 \u732b\u306e\u76ee\n\x07", 17).text == "cafe ? ?"
    render_strip([replace(chain()[0], prompt="\u732b \u05d7\u05ea\u05d5\u05dc \U0001f431 \x00")], summary)


def test_same_frames_give_the_same_pixels(chain, summary) -> None:
    assert (render_strip(chain(), summary) == render_strip(chain(), summary)).all()


def test_nothing_to_draw_is_an_error(summary) -> None:
    with pytest.raises(OptionError, match="at least one state"):
        render_strip([], summary)
