"""Configurations that make no sense are refused in one line, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainzoom.errors import OptionError
from chainzoom.training import tables
from chainzoom.training.grpo.config import Config, load_config

BASE = 'out = "o"\n{top}\n[model]\npath = "m"\n{model}\n[data]\nphotos = ["p"]\n{data}\n{rest}\n'


def text(top: str = "", model: str = "", data: str = "", rest: str = "[rewards.phrase]") -> str:
    return BASE.format(top=top, model=model, data=data, rest=rest)


def test_defaults_are_the_papers() -> None:
    config = tables.parse(Config, text())
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 32, 0.05)
    assert (config.generation.per_prompt, config.steps, config.data.validation) == (2, 10_000, 0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (text(top="stepz = 3"), "unknown key 'stepz' in the top level"),
        (text(top="steps = 0"), "steps must be at least 1, not 0"),
        (text(top='steps = "many"'), "steps must be of type int, not 'many'"),
        (text(top="steps = true"), "steps must be of type int, not True"),
        (text(top="seed = -1"), "seed must be from 0"),
        (text(model='device = "tpu"'), "model.device must be one of auto, cpu, cuda, not 'tpu'"),
        (text(data='states = "dreams"'), "data.states must be one of photo, chain"),
        (text(data="validation = 1.5"), "data.validation must be from 0 to below 1"),
        (text(rest=""), "rewards is missing"),
        (text(rest="[rewards]"), "no rewards"),
        (text(rest="[rewards.phrase]\n[generation]\nper_prompt = 1"), "generation.per_prompt must be at least 2"),
        (text(rest="[rewards.phrase]\n[generation]\ntemperature = 0"), "must be above 0"),
        (text(rest='[rewards.phrase]\n[generation]\nbackend = "vllm"\nvllm_mode = "server"'), "needs generation.vllm_url"),
        (text(rest="[rewards.phrase]\n[optimiser]\npairs = 3\naccumulate = 4"), "must divide the answers of a step"),
        (text(rest="[rewards.phrase]\n[optimiser]\nlearning_rate = -1.0"), "must be above 0"),
        (text(rest="[rewards.phrase]\n[optimiser]\nbits = 16"), "8 or 32"),
        (text(rest='[rewards]\nphrase = "yes"'), "rewards.phrase must be a table"),
        ("out = ", "no valid TOML"),
        ('out = "o"\n[rewards.phrase]\n[model]\npath = "m"', "data is missing"),
    ],
)
def test_refused(given: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(given, encoding="utf-8")
    with pytest.raises(OptionError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot read the configuration"):
        load_config(tmp_path / "none.toml")


def test_places_do_not_decide_the_losses() -> None:
    one, other = (tables.parse(Config, text(top=top)) for top in ("", "save_every = 7\nvalidate_every = 3"))
    assert one.essence() == other.essence()
    assert one.essence() != tables.parse(Config, text(top="seed = 4")).essence()
    rest = '[rewards.critic]\nurl = "http://{}/v1"\nname = "{}"'
    served = [tables.parse(Config, text(rest=rest.format(*place))).essence() for place in (("a", "m"), ("b", "m"), ("a", "n"))]
    assert served[0] == served[1]
    assert served[0] != served[2]
