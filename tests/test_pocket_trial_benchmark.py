"""benchmarks/pocket_trial.py: a few steps of training, and what comes out as a preset of chainzoom eval."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from chainzoom.correctors.consistency import consistency_db
from chainzoom.pictures import read_png, write_png

torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WORDS = ("red rock", "green grass")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import pocket_trial

    return pocket_trial


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for number in range(4):
        name, rng = f"0ad-data-{number}.png", np.random.default_rng(number)
        write_png(tmp_path / name, np.repeat(np.repeat(rng.random((64, 64, 3), np.float32), 4, 0), 4, 1))
        row = {"file": name, "caption": WORDS[number % 2], "materials": [WORDS[number % 2].split()[1]], "kind": "texture", "split": "train"}
        rows.append(json.dumps(row | {"group": name, "sha256": f"{number}", "width": 256, "height": 256}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_it_is_as_described(bench) -> None:
    torch.manual_seed(0)
    network = bench.Generator(118)
    assert 0.45e6 < sum(p.numel() for p in network.parameters()) < 0.65e6
    small, bag = torch.rand(2, 3, 24, 24), torch.rand(2, 118)
    with torch.no_grad():
        made, again = network(small, bag), network(small, bag)
    assert made.shape == (2, 3, 96, 96)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(made, 4), small, atol=1e-5, rtol=0)
    assert (made - again).abs().max() > 1e-4  # noise in every block


def test_words_are_known_in_either_number(bench) -> None:
    known = {"rocks": 0, "sand": 1}
    assert bench.bag_of(["rock"], known).tolist() == [1, 0]
    assert bench.bag_of(["sands", "rocks"], known).tolist() == pytest.approx([0.5**0.5] * 2)
    assert bench.bag_of(["metal"], known).tolist() == [0, 0]


def test_it_is_trained_and_judged_like_a_preset(bench, data: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(bench, "BATCH", 2)
    out, photos, results = data / "trial.pt", data / "photos", data / "results"
    monkeypatch.setattr(sys, "argv", ["pocket_trial.py", "train", str(data), str(out), "--minutes", "0.02"])
    bench.main()
    said = capsys.readouterr().out
    assert re.search(r"^4 pictures, 4 words, \d+ parameters$", said, re.MULTILINE)
    assert int(re.search(r"^(\d+) steps", said, re.MULTILINE).group(1)) >= 1
    start, trained = bench.Generator(4), torch.load(out, weights_only=True)["weights"]
    assert any((start.state_dict()[name] - value).abs().max() > 0 for name, value in trained.items() if name.startswith("out"))
    photos.mkdir()
    write_png(photos / "one.png", np.random.default_rng(9).random((96, 96, 3), np.float32))
    arguments = ["eval", str(out), str(photos), "--size", "64", "--scales", "4,16", "--metrics", "detail", "--out", str(results)]
    monkeypatch.setattr(sys, "argv", ["pocket_trial.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert not ended.value.code
    states = sorted(results.rglob("states/*.png"))
    assert len(states) == 3
    before, after = (read_png(one)[0] for one in states[:2])
    assert consistency_db(after, before[24:40, 24:40]) > 45
    assert json.loads(next(results.rglob("run.json")).read_text(encoding="utf-8"))["parts"]["backbone"]["name"] == "trial"
