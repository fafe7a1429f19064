"""The agreement of samples: known mixtures are recovered, and the command writes what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.backbones.base import BackboneFacts
from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation import agreement_map
from chainzoom.evaluation.agreement_map import colours, draw_agreement
from chainzoom.evaluation.metrics.agreement import lab
from chainzoom.evaluation.samples import agreement, judge, verdict
from chainzoom.evaluation.sampling import compare
from chainzoom.images import Image
from chainzoom.pictures import read_provenance
from chainzoom.registry import BACKBONES, Entry
from tests.cli.test_zoom import call
from tests.conftest import NoisyBackbone


def mixture(count: int, shared: float, side: int = 96) -> list[Image]:
    """Grey noise of which the fraction ``shared`` of the power is the same in every sample."""
    rng = np.random.default_rng(3)
    common = rng.standard_normal((side, side, 1))
    out = []
    for _ in range(count):
        noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_normal((side, side, 1))
        out.append(np.clip(0.5 + 0.05 * noise, 0, 1).repeat(3, -1).astype(np.float32))
    return out


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("shared", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_is_recovered_whatever_the_number_of_samples(shared: float, count: int) -> None:
    assert agreement(mixture(count, shared), 8).share == pytest.approx(1 - shared, abs=0.04)


def test_the_map_shows_where() -> None:
    left, right = mixture(6, 1.0), mixture(6, 0.0)
    samples = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]
    found = agreement(samples, 8)
    assert found.local.shape == (96, 192)
    assert found.local[:, :80].mean() < 0.02
    assert found.local[:, 112:].mean() > 0.9
    assert found.spread[:, :64].max() < 1e-3
    # A grey step of 0.05 about the middle is close to 5 units of L*.
    assert np.sqrt((found.spread[:, 112:] ** 2).mean()) == pytest.approx(5, rel=0.1)


def test_what_the_photo_itself_shows_is_no_detail() -> None:
    """Samples that differ in nothing finer than a photo pixel: a different tint is not invented detail."""
    flat = [np.full((64, 64, 3), level, np.float32) for level in (0.4, 0.5)]
    found = agreement(flat, 16)
    assert found.detail < 0.01
    assert verdict(16, found) == "16x: no visible detail to compare"
    assert judge(found) == "no detail"


def test_verdicts() -> None:
    assert verdict(64, agreement(mixture(8, 0.07), 64)).endswith("of the detail differs between seeds: invention")
    assert verdict(64, agreement(mixture(8, 0.5), 64)).endswith(": partly invention")
    assert verdict(4, agreement(mixture(8, 0.95), 4)).endswith(": evidence")
    assert verdict(1, None) == "1x: real pixels, the same for every seed"


@pytest.mark.parametrize("samples", [[], mixture(1, 0.5), [np.zeros((8, 8, 3), np.float32), np.zeros((8, 9, 3), np.float32)]])
def test_bad_samples_are_refused(samples: list[Image]) -> None:
    with pytest.raises(OptionError, match="two or more pictures"):
        agreement(samples, 4)


def test_real_pixels_are_refused() -> None:
    with pytest.raises(OptionError, match="above 1"):
        agreement(mixture(2, 0.5), 1)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((1, 1, 1), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 1), (32.30, 79.19, -107.86))],
)
def test_lab_against_published_values(rgb: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert lab(np.array(rgb, np.float32)) == pytest.approx(expected, abs=0.02)


def test_the_colours_are_even_steps_inside_srgb() -> None:
    ramp = colours(np.linspace(0, 1, 21, dtype=np.float32))
    assert ramp.min() > 0
    assert ramp.max() < 1, "clipping would make the steps uneven"
    light = lab(ramp)[:, 0]
    assert np.all(np.diff(light) > 0), "lightness rises, so that a grey print still reads"
    steps = np.linalg.norm(np.diff(agreement_map._curve(), axis=0), axis=1)
    assert np.ptp(steps) < 1e-3 * steps.mean()
    assert np.ptp(ramp, axis=1).min() > 0.15, "grey is kept for places without detail"


def test_the_picture_has_both_panels_and_a_legend() -> None:
    samples = mixture(4, 0.2, 64)
    found = agreement(samples, 8)
    image = draw_agreement(samples[0], found, verdict(8, found), 4)
    assert image.shape[1] > 2 * 400
    assert image.shape[0] > 400 + 100
    panel = image[24 : 24 + 448, 24 : 24 + 448]
    assert np.allclose(panel[::7, ::7], samples[0], atol=0.5 / 255), "the left panel is the sample itself"


class Seeded(NoisyBackbone):
    """As the registry builds it."""

    def __init__(self) -> None:
        super().__init__(noise=0.1)


class Steady(Seeded):
    def __init__(self) -> None:
        super().__init__()
        self.facts = BackboneFacts("steady", 4)


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, made in (("seeded", "Seeded"), ("steady", "Steady")):
        monkeypatch.setitem(BACKBONES, name, Entry(f"{__name__}:{made}", "a fake"))
        (tmp_path / f"{name}.toml").write_text(f'[backbone]\nname = "{name}"\n[chain]\nsize = 64\nconsistency = 1.0\n')
    return tmp_path / "seeded.toml"


def test_the_command(tmp_path: Path, photo_file: Path, preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    base: list[str | Path] = ["zoom", photo_file, "--to", "16", "--preset", preset, "--seed", "5", "--out", out]
    code, printed, progress = call(*base, "--samples", "3", capsys=capsys)
    assert code == 0
    lines = printed.splitlines()
    assert "real pixels" in lines[0]
    assert any(line.startswith("16x: ") for line in lines)
    assert any(line.endswith("differs between seeds: invention") for line in lines)
    assert "sample 3 of 3, seed 7" in progress
    record = json.loads((out / "samples.json").read_text())
    assert record["seeds"] == [5, 6, 7]
    assert record["runs"] == [".", "samples/6", "samples/7"]
    made = [state for state in record["states"] if state["file"]]
    assert [state["scale"] for state in made] == [4, 16]
    for state in made:
        assert (out / state["file"]).exists()
        assert "synthesised" in json.dumps(read_provenance(out / state["file"]))
    assert (out / "strip.png").exists()
    assert not (out / "samples" / "6" / "strip.png").exists()
    # The further samples are what plain runs with their seeds give.
    assert (
        call("zoom", photo_file, "--to", "16", "--preset", preset, "--seed", "7", "--out", tmp_path / "b", "--no-report", capsys=capsys)[0]
        == 0
    )
    last = json.loads((tmp_path / "b" / "run.json").read_text())["steps"][-1]["file"]
    assert (tmp_path / "b" / last).read_bytes() == (out / "samples" / "7" / last).read_bytes()


def test_samples_resume_and_can_be_added_to(tmp_path: Path, photo_file: Path, preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    base: list[str | Path] = ["zoom", photo_file, "--to", "4", "--preset", preset, "--out", out, "--no-report"]
    assert call(*base, capsys=capsys)[0] == 0
    assert call(*base, "--samples", "3", capsys=capsys)[0] == 2, "an earlier run needs a word"
    code, _, progress = call(*base, "--samples", "3", "--resume", capsys=capsys)
    assert code == 0
    states = len(json.loads((out / "run.json").read_text())["steps"])
    assert progress.count("from the earlier run") == states
    (out / "samples" / "1" / "states" / f"{states - 1}.png").unlink()
    code, _, progress = call(*base, "--samples", "4", "--resume", capsys=capsys)
    assert code == 0
    assert progress.count("from the earlier run") == 2 * states
    assert json.loads((out / "samples.json").read_text())["seeds"] == [0, 1, 2, 3]
    assert call(*base, "--overwrite", capsys=capsys)[0] == 0
    assert not (out / "samples.json").exists(), "verdicts do not outlive the run they are about"


def test_json(tmp_path: Path, photo_file: Path, preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base: list[str | Path] = ["zoom", photo_file, "--to", "4", "--preset", preset, "--out", tmp_path / "o", "--no-report"]
    code, printed, progress = call(*base, "--samples", "2", "--json", capsys=capsys)
    assert (code, progress) == (0, "")
    assert json.loads(printed)["schema"] == "chainzoom.samples/1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "steady.toml", "--samples", "8"], "makes all 8 samples the same"),
        (["--preset", "seeded.toml", "--samples", "8", "--mode", "bicubic"], "makes all 8 samples the same"),
        (["--preset", "seeded.toml", "--samples", "1"], "from 2 to"),
        (["--preset", "seeded.toml", "--samples", "1000"], "from 2 to"),
        (["--preset", "seeded.toml", "--samples", "3", "--seed", str(2**48 - 1)], "largest seed"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(
    tmp_path: Path,
    photo_file: Path,
    preset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, error = call("zoom", photo_file, "--to", "4", "--out", "o", *options, capsys=capsys)
    assert (code, printed) == (2, "")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_runs_of_another_zoom_are_not_compared(tmp_path: Path, photo_file: Path, preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, to in (("a", "4"), ("b", "8")):
        call("zoom", photo_file, "--to", to, "--preset", preset, "--out", tmp_path / name, "--no-report", capsys=capsys)
    with pytest.raises(OutputError, match="another zoom"):
        list(compare(tmp_path, [tmp_path / "a", tmp_path / "b"]))
    PILImage.new("RGB", (2, 2)).save(tmp_path / "x.png")
    with pytest.raises(OutputError, match=r"run\.json"):
        list(compare(tmp_path, [tmp_path / "a", tmp_path / "missing"]))
