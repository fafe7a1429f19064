"""The analysis: simulated raters of known bias are recovered, damaged files are refused by name."""

from __future__ import annotations

import json
import random
import re
import sys
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy import stats

from chainzoom.errors import InputError, MissingExtraError, OutputError
from chainzoom.evaluation.study.answers import find_key, load_answers, load_key
from chainzoom.evaluation.study.collect import collect
from chainzoom.evaluation.study.comparisons import compare, interval
from chainzoom.evaluation.study.design import Study, design
from chainzoom.evaluation.study.make import make_study
from chainzoom.evaluation.study.score import StudyResult, score_study
from chainzoom.evaluation.study.write import markdown, svg
from tests.cli.test_zoom import call
from tests.evaluation.study.conftest import METHODS, Taste, answer

QUALITY = {"alpha-net": 3.9, "beta-net": 3.3, "gamma-net": 2.2}


@pytest.fixture
def study(results: Path) -> Study:
    scenes, _ = collect(results)
    hashes = {scene.name: {method: f"{scene.name} {method}" for method in scene.methods} for scene in scenes}
    return design(scenes, raters=25, image_sets=5, text_sets=5, seed=0, title="Zooms", hashes=hashes)


def ask(study: Study, folder: Path, taste: Callable[[str], Taste], raters: int = 25) -> StudyResult:
    """Answers of raters with the taste that each has, through files, analysed."""
    files = []
    for rater in study.raters[:raters]:
        files.append(folder / f"{rater}.json")
        files[-1].write_text(json.dumps(answer(study, rater, taste(rater))))
    good, refused = load_answers(files, study)
    assert refused == []
    return score_study(study, good)


def noisy(kind: str, method: str, rng: random.Random) -> float:
    return QUALITY[method] + rng.gauss(0, 0.5)


def test_known_quality_is_recovered(study: Study, tmp_path: Path) -> None:
    result = ask(study, tmp_path, lambda rater: noisy)
    for kind in result.kinds:
        assert [one.method for one in kind.methods] == list(METHODS)
        for one in kind.methods:
            assert one.mean.mean == pytest.approx(QUALITY[one.method], abs=0.12)
            assert one.mean.low is not None
            assert one.mean.high is not None
            assert one.mean.low < one.mean.mean < one.mean.high
        assert all(pair.holm_t < 0.001 and pair.holm_wilcoxon < 0.001 for pair in kind.comparisons)
        assert [pair.difference.mean > 0 for pair in kind.comparisons] == [True] * 3


def test_mild_and_strict_raters_change_levels_and_no_differences(study: Study, tmp_path: Path) -> None:
    """A rater's leniency is common to all methods: it widens the intervals of means, not of differences, and lowers plain alpha only."""

    def lenient(rater: str) -> Taste:
        shift = 1 if study.raters.index(rater) % 2 else -1
        return lambda kind, method, rng: {"alpha-net": 4, "beta-net": 3, "gamma-net": 2}[method] + shift

    image = ask(study, tmp_path, lenient).kinds[0]
    assert [pair.difference.mean for pair in image.comparisons] == pytest.approx([1, 2, 1])
    assert all(pair.effect is None and pair.holm_t == 0 for pair in image.comparisons)
    first = image.methods[0].mean
    assert first.low is not None
    assert first.mean - first.low > 0.3
    assert image.alpha is not None
    assert image.alpha < 0.5
    assert image.alpha_within == pytest.approx(1)


def test_guessing_raters_show_nothing(study: Study, tmp_path: Path) -> None:
    result = ask(study, tmp_path, lambda rater: lambda kind, method, rng: rng.randint(1, 5))
    for kind in result.kinds:
        assert all(min(pair.holm_t, pair.holm_wilcoxon) > 0.05 for pair in kind.comparisons)
        assert kind.alpha == pytest.approx(0, abs=0.05)
    assert "no difference shown" in markdown(result)


def test_who_likes_the_first_row_best_favours_no_method(study: Study, tmp_path: Path) -> None:
    """The rotation cancels a taste for places: 24 raters, 3 items."""
    files = []
    for rater in study.raters[:24]:
        scores = {}
        for place, items in study.order(rater):
            for row, k in enumerate(items):
                scores[study.sets[place].items[k].id] = 5 if row == 0 else 2
        files.append(tmp_path / f"{rater}.json")
        files[-1].write_text(json.dumps(answer(study, rater, noisy, scores=scores)))
    image = score_study(study, load_answers(files, study)[0]).kinds[0]
    assert [one.mean.mean for one in image.methods] == pytest.approx([3, 3, 3])


def test_raters_who_agree_have_alpha_one_and_flat_ones_are_named(study: Study, tmp_path: Path) -> None:
    result = ask(study, tmp_path, lambda rater: lambda kind, method, rng: {"alpha-net": 5, "beta-net": 3, "gamma-net": 1}[method], 4)
    assert [kind.alpha for kind in result.kinds] == [1, 1]
    assert result.flat == ()
    result = ask(study, tmp_path, lambda rater: lambda kind, method, rng: 3, 2)
    assert result.flat == study.raters[:2]
    assert result.kinds[0].alpha is None
    assert result.kinds[0].comparisons[0].p_t == 1
    assert "count all the same" in markdown(result)


def test_words_are_compared_where_both_have_them(study: Study, tmp_path: Path) -> None:
    """gamma-net lacks words in half of the scenes; there the others score low, which must not enter its comparisons."""
    lacking = {one.id for one in study.sets if one.kind == "text" and len(one.items) == 2}
    assert 0 < len(lacking) < 5
    files = []
    for rater in study.raters[:3]:
        scores = {item.id: 1 if one.id in lacking else 4 for one in study.sets for item in one.items}
        files.append(tmp_path / f"{rater}.json")
        files[-1].write_text(json.dumps(answer(study, rater, noisy, scores=scores)))
    text = score_study(study, load_answers(files, study)[0]).kinds[1]
    means = {one.method: one.mean.mean for one in text.methods}
    assert means["gamma-net"] == 4
    assert means["alpha-net"] < 4
    assert all(pair.difference.mean == 0 for pair in text.comparisons)


def test_one_rater_gives_means_and_no_tests(study: Study, tmp_path: Path) -> None:
    result = ask(study, tmp_path, lambda rater: noisy, 1)
    assert result.kinds[0].comparisons == ()
    assert result.kinds[0].methods[0].mean.low is None
    assert "need two raters" in markdown(result)
    xml.dom.minidom.parseString(svg(result))


def test_figures_by_scipy() -> None:
    rng = np.random.default_rng(0)
    values = {pair: rng.normal(0.2, 1, 20) for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    found = compare(values)
    raw = [float(stats.ttest_1samp(one, 0).pvalue) for one in values.values()]
    assert [one.p_t for one in found] == pytest.approx(raw)
    assert [one.p_wilcoxon for one in found] == pytest.approx([float(stats.wilcoxon(one).pvalue) for one in values.values()])
    least, middle, most = sorted(raw)
    corrected = [3 * least, max(3 * least, 2 * middle), max(3 * least, 2 * middle, most)]
    assert sorted(one.holm_t for one in found) == pytest.approx([min(1, value) for value in corrected])
    assert all(one.holm_wilcoxon >= one.p_wilcoxon for one in found)
    low, high = stats.t.interval(0.95, 19, values["a", "b"].mean(), stats.sem(values["a", "b"]))
    assert (found[0].difference.low, found[0].difference.high) == pytest.approx((low, high))
    assert interval(np.array([3.0])).low is None


def spoil(whole: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """File name: (its text, why it is refused)."""
    first = next(iter(whole["scores"]))

    def but(**changes: Any) -> str:
        return json.dumps(whole | changes)

    fewer = {key: value for key, value in whole["scores"].items() if key != first}
    return {
        "empty.json": ("", "damaged"),
        "cut.json": (json.dumps(whole)[:-40], "damaged"),
        "list.json": ("[]", "damaged"),
        "schema.json": (but(schema="x"), "damaged"),
        "six.json": (but(scores=whole["scores"] | {first: 6}), "damaged"),
        "half.json": (but(scores=whole["scores"] | {first: 3.5}), "damaged"),
        "true.json": (but(scores=whole["scores"] | {first: True}), "damaged"),
        "more.json": (but(scores=whole["scores"] | {"x": 3}), "damaged"),
        "types.json": (but(scores=[1, 2]), "damaged"),
        "deep.json": ("[" * 100_000, "damaged"),
        "fewer.json": (but(scores=fewer), "unfinished"),
        "open.json": (but(complete=False), "unfinished"),
        "never.json": (but(finished=None), "unfinished"),
        "study.json": (but(study="other"), "foreign"),
        "rater.json": (but(rater="AAAAA"), "foreign"),
    }


def test_files_that_cannot_count_are_refused_by_name(study: Study, tmp_path: Path) -> None:
    whole = answer(study, study.raters[3], noisy)
    files = []
    spoiled = spoil(whole)
    for name, (text, _) in spoiled.items():
        files.append(tmp_path / name)
        files[-1].write_text(text)
    (tmp_path / "good.json").write_text(json.dumps(whole))
    good, refused = load_answers([*files, tmp_path / "missing.json", tmp_path / "good.json"], study)
    assert [one.file for one in good] == [str(tmp_path / "good.json")]
    assert {Path(one.file).name: one.kind for one in refused} == {name: why for name, (_, why) in spoiled.items()} | {
        "missing.json": "damaged"
    }
    said = markdown(score_study(study, good, refused))
    assert "Refused: 16 files (11 damaged, 2 foreign, 3 unfinished)" in said
    assert all(f"{name}`" in said for name in spoiled)
    with pytest.raises(InputError, match="at least one whole answer file, got none; 16 refused"):
        score_study(study, [], refused)


def test_of_repeated_answers_the_first_finished_counts(study: Study, tmp_path: Path) -> None:
    rater = study.raters[0]
    files = [tmp_path / name for name in ("later.json", "first.json", "copy.json")]
    later = answer(study, rater, lambda kind, method, rng: 5, finished="2026-01-02T00:00:00Z")
    first = answer(study, rater, lambda kind, method, rng: 2)
    for file, data in zip(files, (later, first, first), strict=True):
        file.write_text(json.dumps(data))
    good, refused = load_answers(files, study)
    assert len(good) == 1
    assert set(good[0].scores.values()) == {2}
    assert [one.kind for one in refused] == ["duplicate", "duplicate"]


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, _, _ = make_study(results, tmp_path, raters=6)
    files = []
    for rater in study.raters:
        files.append(tmp_path / "answers" / f"answers-{rater}.json")
        files[-1].write_text(json.dumps(answer(study, rater, noisy)))
    files[5].write_text("{")
    code, printed, said = call("study", "score", *files, capsys=capsys)
    assert code == 0
    assert "5 raters of 6 invited. Median time 9.0 minutes." in printed
    assert "| alpha-net − gamma-net |" in printed
    assert f"refused {files[5]}: damaged, not valid JSON, perhaps cut off" in said
    data = json.loads((tmp_path / "study.json").read_text())
    assert data["schema"] == "chainzoom.study.results/1"
    assert [kind["kind"] for kind in data["kinds"]] == ["image", "text"]
    drawn = (tmp_path / "study.svg").read_text()
    xml.dom.minidom.parseString(drawn)
    assert not re.search(r"(href|src|url)\W", drawn)
    assert "![Scores](study.svg)" in (tmp_path / "study.md").read_text()


def test_keys(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(results, tmp_path / "s", raters=2)
    assert find_key([tmp_path / "s" / "answers" / "a.json"]) == tmp_path / "s" / "key.json"
    with pytest.raises(OutputError, match="--key"):
        find_key([tmp_path / "elsewhere" / "deep" / "a.json"])
    for text in ("", "[]", '{"schema": "chainzoom.study/1"}', '{"schema": "x"}'):
        (tmp_path / "key.json").write_text(text)
        with pytest.raises(OutputError):
            load_key(tmp_path / "key.json")
    code, printed, said = call("study", "score", tmp_path / "s" / "answers" / "a.json", capsys=capsys)
    assert (code, printed) == (2, "")
    assert "got none; 1 refused" in said


def test_without_scipy(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'chainzoom\[eval\]'"):
        ask(study, tmp_path, lambda rater: noisy)
