"""Training configurations: what is refused, and what a checkpoint compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom.errors import OptionError
from chainzoom.training.sr.config import load_config, parse_config

MINIMAL = """
out = "run"
recipe = "osediff_sd3"
network = { model_dir = "sd3" }
data = { sources = [{ path = "photos" }] }
stages = [{ steps = 3 }, { steps = 2, degradation = "bicubic" }]
"""


def test_published_defaults() -> None:
    config = parse_config(MINIMAL)
    assert (config.loss.l2, config.loss.lpips, config.loss.vsd) == (1, 2, 1)
    assert (config.optimiser.lr, config.optimiser.betas, config.optimiser.weight_decay, config.optimiser.clip) == (
        5e-5,
        (0.9, 0.999),
        1e-2,
        1,
    )
    assert (config.network.rank, config.batch, config.accumulation, config.data.crop) == (4, 2, 2, 512)


def test_stages_follow_each_other() -> None:
    config = parse_config(MINIMAL)
    assert config.steps == 5
    assert [config.degradation_at(step) for step in range(5)] == ["realesrgan"] * 3 + ["bicubic"] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rank", "x"), "unknown key"),
        (("steps = 3", "steps = 0"), "steps >= 1"),
        (("steps = 3", 'steps = "3"'), "must be of type int"),
        (('path = "photos"', "limit = 1"), "path is missing"),
        (("bicubic", "nearest"), "must be one of realesrgan, bicubic"),
        (('model_dir = "sd3"', "rank = 2"), "model_dir"),
        (("osediff_sd3", "gan"), "recipe must be one of"),
        (('out = "run"', 'out = "run"\nbatch = 0'), "batch must be at least 1"),
        (("sources = [", "crop = 100, sources = ["), "multiple of 32"),
    ],
)
def test_refused_with_the_key(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = MINIMAL.replace(*change) if change[0] in MINIMAL else MINIMAL + f"{change[0]} = 1\n"
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(OptionError, match=words) as error:
        load_config(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_may_move_but_not_change() -> None:
    one = parse_config(MINIMAL).essence()
    moved = MINIMAL.replace('"run"', '"elsewhere"').replace('"sd3"', '"/data/sd3"').replace('"photos"', '"/mnt/photos"')
    assert parse_config(moved).essence() == one
    assert parse_config(MINIMAL + "seed = 1\n").essence() != one
    assert parse_config(MINIMAL + "[optimiser]\nlr = 1e-4\n").essence() != one


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[3] / "configs" / "train").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_configurations_are_valid(file: Path) -> None:
    if file.stem.startswith(("prompts", "pocket")):
        pytest.skip("of the prompt extractor or of the pocket backbone")
    assert load_config(file)[0].steps > 0
