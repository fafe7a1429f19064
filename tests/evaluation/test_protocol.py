"""Methods from text, the paper's rows, and the plan that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chainzoom.errors import OptionError, OutputError, PresetError
from chainzoom.evaluation.plan import EvalPlan, read_plan
from chainzoom.evaluation.protocol import PAPER_ROWS, paper_rows, parse_method


def test_a_plain_preset() -> None:
    method = parse_method("default")
    assert (method.name, method.preset, dict(method.changes)) == ("default", "default", {})


def test_changes_have_their_types() -> None:
    method = parse_method("default:mode=recursive,consistency=0.5,seed=7,prompter=null")
    assert dict(method.changes) == {"mode": "recursive", "consistency": 0.5, "seed": 7, "prompter": "null"}
    assert method.name == "default-recursive-consistency0.5-seed7-null"
    assert method.seed == 7
    assert method.overrides() == {"mode": "recursive", "consistency": 0.5}
    assert method.load().prompter == "null"


@pytest.mark.parametrize("text", ["default:mood=1", "default:mode", "default:seed=x"])
def test_nonsense(text: str) -> None:
    with pytest.raises(OptionError, match="--preset"):
        parse_method(text)


def test_unknown_parts_are_named() -> None:
    with pytest.raises(PresetError, match="unknown prompter 'oracle'"):
        parse_method("default:prompter=oracle").load()
    with pytest.raises(OptionError, match="--mode takes one of"):
        parse_method("default:mode=sideways").load()


def test_paper_rows_keep_a_prompter_that_the_preset_configures() -> None:
    rows = {method.name: method for method in paper_rows("default")}
    assert [name.removeprefix("default-") for name in rows] == list(PAPER_ROWS)
    assert "prompter" not in rows["default-tags"].changes
    assert rows["default-dape"].changes["prompter"] == "dape"
    assert rows["default-onestep"].load().prompter == "null"


def test_paper_rows_of_a_family_of_presets() -> None:
    rows = {method.name: (method.preset, dict(method.changes)) for method in paper_rows("official")}
    assert list(rows) == [*(f"official-{name}" for name in PAPER_ROWS), "official-vlm-grpo"]
    assert rows["official-nearest"] == ("official-null", {"mode": "nearest"})
    assert rows["official-null"][0] == "official-null"
    assert rows["official-dape"][0] == "official-dape"
    assert rows["official-vlm"][0] == "official-base-vlm"
    assert rows["official-vlm-grpo"][0] == "official"
    for method in paper_rows("official"):
        assert method.load().backbone == "osediff_sd3"
    assert {m.name: m.load().prompter for m in paper_rows("official")}["official-tags"] == "tags"


def test_plan_round_trip(make_plan: Callable[..., EvalPlan], tmp_path: Path) -> None:
    plan = make_plan("bicubic", "bicubic:seed=3", absent={"dape": "no weights"}, note="why")
    plan.write(tmp_path / "out")
    assert read_plan(tmp_path / "out") == plan


def test_a_scale_that_the_steps_do_not_pass_is_refused(make_plan: Callable[..., EvalPlan]) -> None:
    with pytest.raises(OptionError, match="does not pass 8x on the way to 16x; it passes 4, 16"):
        make_plan("bicubic", scales=(8.0, 16.0))
    assert make_plan("bicubic:step=2", scales=(8.0, 16.0)).to == 16


def test_no_method_is_refused(make_plan: Callable[..., EvalPlan]) -> None:
    plan = make_plan("bicubic")
    with pytest.raises(OptionError, match="no method can run here; dape: no weights"):
        EvalPlan(plan.dataset, plan.items, (), (4.0,), ("default",), absent={"dape": "no weights"})


def test_a_folder_without_a_plan(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is .* the --out of an evaluation"):
        read_plan(tmp_path)
    (tmp_path / "eval.json").write_text('{"schema": "other"}')
    with pytest.raises(OutputError, match="its schema is other"):
        read_plan(tmp_path)
