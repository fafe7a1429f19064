"""Everything that people look at, from stored runs alone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PILImage

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
parquet = pytest.importorskip("pyarrow.parquet")

from chainzoom.evaluation.ablations import spread  # noqa: E402
from chainzoom.evaluation.build import build  # noqa: E402
from chainzoom.evaluation.metrics import load_metrics  # noqa: E402
from chainzoom.evaluation.plan import EvalPlan  # noqa: E402
from chainzoom.evaluation.scoring import Score  # noqa: E402
from chainzoom.evaluation.summary import Summary, published, summarise  # noqa: E402
from chainzoom.evaluation.tables import latex, markdown  # noqa: E402

Plans = Callable[..., EvalPlan]
NAMES = ("niqe", "consistency-end", "psnr")


@pytest.fixture(scope="session")
def drawn(finished: tuple[EvalPlan, Path]) -> tuple[Summary, Path]:
    plan, out = finished
    return build(plan, out, load_metrics(NAMES))[0], out


@pytest.fixture
def built(drawn: tuple[Summary, Path], tmp_path: Path) -> tuple[Summary, Path]:
    return drawn[0], Path(shutil.copytree(drawn[1], tmp_path / "out"))


def test_every_file_is_there(built: tuple[Summary, Path]) -> None:
    _, out = built
    for name in ("table.md", "table.tex", "table.csv", "tests.csv", "spread.csv", "scores.parquet", "index.html"):
        assert (out / name).stat().st_size > 0
    assert {path.name for path in (out / "plots").iterdir()} == {f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")}
    assert {path.stem for path in (out / "sheets").iterdir()} == {"large", "small"}
    with PILImage.open(out / "sheets" / "large.webp") as sheet:
        assert sheet.size[0] > 3 * 224
        assert b"algorithmicallyEnhanced" in sheet.info["xmp"]


def test_parquet_has_every_figure_of_every_image(built: tuple[Summary, Path]) -> None:
    summary, out = built
    table = parquet.read_table(out / "scores.parquet")
    assert table.column_names == ["method", "image", "scale", "metric", "value", "failed", "reason"]
    assert table.num_rows == len(summary.scores)
    rows = [row for row in table.to_pylist() if row["image"] == "torn" and row["metric"] == "niqe"]
    assert {(row["value"], row["failed"]) for row in rows} == {(100.0, True)}


def test_csv_means_are_those_of_the_figures(built: tuple[Summary, Path]) -> None:
    summary, out = built
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    row = next(r for r in rows if (r["scale"], r["method"], r["metric"]) == ("4", "bicubic", "niqe"))
    values = [s.value for s in summary.scores if (s.scale, s.method, s.metric) == (4.0, "bicubic", "niqe")]
    assert float(row["mean"]) == pytest.approx(sum(values) / 3)
    assert (row["images"], row["failed"]) == ("3", "1")
    assert float(row["low95"]) <= float(row["mean"]) <= float(row["high95"])


def test_markdown_and_latex(built: tuple[Summary, Path]) -> None:
    summary, _ = built
    text, tex = markdown(summary), latex(summary)
    assert "## 4x" in text
    assert "## Published" in text
    assert "!1" in text
    assert "**" in text
    assert r"\toprule" in tex
    assert r"NIQE $\downarrow$" in tex
    assert tex.count(r" \\") == 1 + 2 + 2 * 2


def test_the_page_escapes_marks_the_published_and_loads_nothing_from_afar(built: tuple[Summary, Path]) -> None:
    _, out = built
    page = (out / "index.html").read_text()
    assert "chainzoom eval &lt;photos&gt;" in page
    assert "A &amp; B" in page
    assert "<photos>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('<span class="pill">published</span>') == 10
    assert "torn" in page
    for path in (out / "sheets").iterdir():
        assert f"sheets/{path.name}" in page


def test_the_report_is_drawn_again_from_stored_pictures(built: tuple[Summary, Path]) -> None:
    summary, out = built
    before = {name: (out / name).read_bytes() for name in ("table.md", "index.html", "tests.csv")}
    for name in before:
        (out / name).unlink()
    build(summary.plan, out, load_metrics(NAMES))
    assert {name: (out / name).read_bytes() for name in before} == before


def test_incomplete_columns_say_so(built: tuple[Summary, Path]) -> None:
    summary, out = built
    (out / "runs" / "bicubic" / "large" / "run.json").unlink()
    again = build(summary.plan, out, load_metrics(NAMES))[0]
    assert "NIQE ↓ (n 2 to 3)" in markdown(again)


def test_means_best_and_tests_by_hand(make_plan: Plans) -> None:
    plan = replace(make_plan("bicubic", "bicubic:mode=nearest"), scales=(4.0,))
    metrics = load_metrics(["niqe", "detail"])
    values = {
        "bicubic": {"niqe": (5.0, 7.0, 9.0), "detail": (0.9, 0.9, 0.9)},
        "bicubic-nearest": {"niqe": (6.0, 9.0, 12.0), "detail": (1.4, 1.4, 1.4)},
    }
    scores = [
        Score(method, f"p{k}", 4.0, metric, value)
        for method, table in values.items()
        for metric, row in table.items()
        for k, value in enumerate(row)
    ]
    summary = summarise(plan, metrics, scores)
    cell = summary.cell(4.0, "bicubic", "niqe")
    assert cell is not None
    assert cell.interval.mean == 7
    assert [summary.best(4.0, metric) for metric in metrics] == [{"bicubic"}, {"bicubic"}]
    even = summarise(plan, metrics, [replace(score, value=1.0) for score in scores])
    assert not any(even.best(4.0, metric) for metric in metrics)
    test = next(t for t in summary.tests if t.metric == "niqe")
    assert (test.a, test.b, test.result.difference.mean) == ("bicubic", "bicubic-nearest", -2)
    # Differences -1, -2, -3: t = -2 / (1 / sqrt 3), two degrees of freedom.
    assert test.result.t_test == pytest.approx(0.0742, abs=1e-4)
    assert test.adjusted[0] == test.result.t_test


def test_spread_between_seeds_by_hand() -> None:
    scores = [Score(f"s{k}", "p", 4.0, "niqe", value) for k, value in enumerate((4.0, 6.0))]
    scores += [Score(f"s{k}", "q", 4.0, "niqe", value) for k, value in enumerate((5.0, 5.0))]
    scores.append(Score("s2", "p", 4.0, "niqe", 100.0, failed=True))
    assert spread(scores) == [(4.0, "niqe", pytest.approx(2**0.5 / 2), 2)]


def test_published_rows_are_the_papers() -> None:
    rows, source, _ = published()
    assert "2505.18600" in source
    assert len(rows) == 25
    row = next(r for r in rows if (r.dataset, r.scale, r.method) == ("DIV2K", 256.0, "CoZ VLM (GRPO)"))
    assert row.figures == {"niqe": 9.83, "pyiqa-musiq": 47.83, "pyiqa-maniqa-pipal": 0.5692, "pyiqa-clipiqa": 0.5986}
