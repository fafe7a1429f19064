"""benchmarks/official_stack.py at tiny size on the CPU, and the parts that only a GPU would reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("torchvision")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import official_stack

    return official_stack


def test_the_smoke_test_fills_every_cell(bench, monkeypatch, tmp_path, capsys) -> None:
    import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "BATCHES", (1, 2))
    monkeypatch.setattr(sys, "argv", ["official_stack.py", "--rounds", "1", "--memory", "fast", "--channels-last"])
    assert bench.main() == 0
    text = (tmp_path / "official_stack_tiny.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert "say nothing about speed" in text
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith(("| authors", "| ours"))]
    assert [(row[0].strip(), int(row[1])) for row in rows] == [
        (name, batch) for batch in (1, 2) for name in ("authors' configuration", "ours: fast, float32, channels_last")
    ]
    for row in rows:
        seconds = [float(cell) for cell in row[2:6]]
        assert 0 < seconds[0] < seconds[3], "four steps take longer than one"
        assert row[6].strip() == "–", "memory is not counted on the CPU"
    assert "latency, batch 1: " in text
    assert "aim" not in text, "at this size nothing is met or missed"


def test_full_size_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [sys.executable, str(BENCHMARKS / "official_stack.py"), "--size", "full"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs a CUDA GPU" in done.stderr
    assert done.stdout == ""


def test_a_full_device_is_a_cell_and_no_end(bench) -> None:
    from official.measure import FULL, Row, attempt

    from chainzoom.errors import BackendError

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def ours() -> None:
        raise BackendError("the vlm prompter ran out of memory on cuda; use --memory balanced")

    assert attempt(full) == attempt(ours) == FULL
    assert attempt(lambda: 3) == 3
    with pytest.raises(RuntimeError, match="a bug"):
        attempt(lambda: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(BackendError, match="NaN"):
        attempt(lambda: (_ for _ in ()).throw(BackendError("the network answered NaN")))

    row = Row("too big")
    bench.fill(row, FULL, "cpu", lambda batch: pytest.fail("there is nothing to measure"))
    assert bench.line(row, 8) == "| too big | 8 | out of memory | out of memory | out of memory | out of memory | out of memory |"


def test_aims_are_judged_by_the_last_scale(bench) -> None:
    from official.measure import Row

    theirs = Row("theirs", {1: dict.fromkeys(bench.SCALES, 6.0), 8: dict.fromkeys(bench.SCALES, 6.0)}, {1: 30_000_000_000, 8: None})
    ours = Row("ours", {1: {4: 0.1, 16: 0.2, 64: 0.3, 256: 2.5}, 8: {4: 9.0, 16: 9.0, 64: 9.0, 256: 0.5}}, {1: 15_000_000_000, 8: None})
    latency, throughput, memory = bench.verdicts(theirs, ours, aims=True)
    assert latency == "latency, batch 1: 2.40x lower (aim: at least 3x; not met)"
    assert throughput == "throughput, batch 8: 12.00x higher (aim: at least 8x; met)"
    assert memory == "GPU memory, batch 1: 0.50x of theirs (aim: at most 0.5x; met)"
    ours.seconds[8] = "out of memory"
    assert bench.verdicts(theirs, ours, aims=True)[1] == "throughput, batch 8: not to be had (aim: at least 8x; not met)"


def test_lora_beside_a_layer(bench) -> None:
    """Base plus scaled update; in half precision where the authors' layers answer so."""
    from official.theirs import BesideLoRA

    torch.manual_seed(0)
    for base, x in ((torch.nn.Linear(6, 5), torch.randn(2, 6)), (torch.nn.Conv2d(3, 4, 3, stride=2), torch.randn(1, 3, 9, 9))):
        beside = BesideLoRA(base, 2.0, None)
        weight = base.weight + 2.0 * (beside.up.weight.flatten(1) @ beside.down.weight.flatten(1)).reshape(base.weight.shape)
        expected = torch.func.functional_call(base, {"weight": weight, "bias": base.bias}, (x,))
        torch.testing.assert_close(beside(x), expected)
        assert BesideLoRA(base, 2.0, torch.float16)(x).dtype == torch.float16


def test_prompts_differ_and_fit() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from official.models import words_for
    finally:
        sys.path.remove(str(BENCHMARKS))
    from chainzoom.prompters import quality

    prompts = [words_for(n) for n in range(2000)]
    assert len(set(prompts)) == len(prompts)
    assert {quality.fault(quality.tidy(prompt)) for prompt in prompts} == {""}
    assert {len(prompt.split()) for prompt in prompts} == {13}


def test_authors_states_are_png_files_of_the_right_size(bench, tmp_path) -> None:
    from official.models import SIZES
    from official.theirs import Theirs
    from PIL import Image as PILImage

    size = SIZES["tiny"]
    PILImage.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "0.png")
    files = list(Theirs(size, "cpu").zoom(tmp_path / "0.png", 2, tmp_path))
    assert [file.name for file in files] == ["1.png", "2.png"]
    for file in files:
        with PILImage.open(file) as picture:
            assert (picture.format, picture.size) == ("PNG", (64, 64))
