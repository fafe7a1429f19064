"""Whole runs on a tiny random model: it learns, it resumes, its adapter is one that the ``vlm`` prompter loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("datasets")
pytest.importorskip("peft")
pytest.importorskip("tensorboard")
pytest.importorskip("matplotlib")
pytest.importorskip("torchvision")

import torch

from chainzoom.errors import BackendError, OptionError, OutputError
from chainzoom.prompters.base import View
from chainzoom.prompters.vlm import VLM
from chainzoom.training.grpo.rewards import RewardError
from chainzoom.training.grpo.run import train_prompts
from chainzoom.training.runs import read_log, saved_steps
from tests.prompters import tiny_vlm
from tests.training.grpo.tiny_run import photos, settings, toy, values

WANTED = ["orange", "fur", "grass", "sky"]
LIKES = """
[rewards.toy]
function = "{toy}:likes"
weight = 0.125
wanted = ["orange", "fur", "grass", "sky"]
[rewards.phrase]
[rewards.repetition]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo")
    tiny_vlm.make(folder / "model")
    photos(folder / "photos")
    toy(folder)
    return folder


def quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def learnt(home: Path) -> Path:
    config, text = settings(
        home,
        LIKES.format(toy=home / "toy.py"),
        out=str(home / "learnt"),
        steps=20,
        save_every=20,
        validate_every=20,
        generation__per_prompt=16,
        optimiser__kl=0.0,
    )
    return train_prompts(config, text, resume=False, say=quiet)


def test_a_toy_critic_is_pleased(learnt: Path) -> None:
    reward = values(read_log(learnt.parents[1]), "reward/toy")
    first, last = reward[:4], reward[-4:]
    spread = np.sqrt(first.var(ddof=1) / 4 + last.var(ddof=1) / 4)
    assert last.mean() - first.mean() > 6 * spread
    assert last.mean() > 3 * first.mean()


def test_the_adapter_is_loaded_by_the_vlm_prompter(home: Path, learnt: Path) -> None:
    assert learnt.name == "step-000020"
    view = View(np.zeros((64, 64, 3), np.float32), np.full((64, 64, 3), 0.5, np.float32), 4.0, 4.0)
    plain = VLM.from_pretrained(home / "model", device="cpu", max_new_tokens=12)
    taught = VLM.from_pretrained(home / "model", learnt, device="cpu", max_new_tokens=12)
    counts = [sum(asker.answers([_request(view)])[0].text.count(word) for word in WANTED) for asker in (plain, taught)]
    assert counts[1] > counts[0] + 3


def _request(view: View):
    from chainzoom.prompters.asking import Request
    from chainzoom.prompters.questions import prompt_question

    assert view.parent is not None
    images = tuple((image * 255).astype(np.uint8) for image in (view.parent, view.crop))
    return Request(images, prompt_question(2), 0.0, 0)


def test_the_run_can_be_watched(learnt: Path) -> None:
    folder = learnt.parents[1]
    assert (folder / "rewards.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (folder / "examples.md").read_text(encoding="utf-8")
    before = json.loads((folder / "before.json").read_text(encoding="utf-8"))
    assert page.count("| before |") == page.count("| after |") == len(before) == 2
    after = [line for line in page.splitlines() if line.startswith("| after |")]
    assert all(any(word in line for word in WANTED) for line in after)
    assert list((folder / "tensorboard").iterdir())
    log = read_log(folder)
    total, toy_reward, phrase, repetition = (values(log, f"reward/{name}") for name in ("total", "toy", "phrase", "repetition"))
    np.testing.assert_allclose(total, 0.125 * toy_reward + 0.5 * phrase + 0.5 * repetition, atol=1e-5)
    assert values(log, "validation/reward/toy")[-1] > values(log, "validation/reward/toy")[0] + 3


def test_the_adapter_is_on_the_language_half_alone(home: Path, learnt: Path) -> None:
    from safetensors.torch import load_file

    names = load_file(learnt / "adapter_model.safetensors")
    assert len(names) == tiny_vlm.LAYERS * 7 * 2
    assert all(".language_model." in name for name in names)
    settings_file = json.loads((learnt / "adapter_config.json").read_text(encoding="utf-8"))
    assert (settings_file["r"], settings_file["lora_alpha"], settings_file["lora_dropout"]) == (8, 32, 0.05)


def test_what_is_trained_on_is_what_is_asked(home: Path) -> None:
    """The tokens of a training conversation are those of the prompter's question."""
    from chainzoom.prompters import vlm_loading
    from chainzoom.prompters.questions import prompt_question, turns
    from chainzoom.training.grpo.pairs import PhotoPairs, list_photos
    from chainzoom.training.grpo.trainer import conversations

    loaded = vlm_loading.load(home / "model", device="cpu", dtype="auto", quantise=None)
    pairs = PhotoPairs(list_photos([str(home / "photos")]), 64, 0)
    row = conversations(pairs, 4)[2]
    assert row["pair"] == 2
    np.testing.assert_array_equal(np.asarray(row["images"][1]), pairs[2].images[1])
    chat = loaded.processor.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    asked = turns(prompt_question(2), [{"type": "image"}] * 2)
    assert chat == loaded.processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)


def test_a_killed_run_goes_on_as_if_undisturbed(home: Path) -> None:
    flag = home / "flag"
    logs = {}
    for name, after in (("whole", 10**6), ("killed", 8)):
        rewards = LIKES.format(toy=home / "toy.py") + (
            f'[rewards.breaks]\nfunction = "{home / "toy.py"}:breaks"\nflag = "{flag}"\nafter = {after}\n'
        )
        config, text = settings(home, rewards, out=str(home / name), validate_every=2, optimiser__accumulate=2)
        flag.touch()
        Path(f"{flag}.calls").unlink(missing_ok=True)
        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                train_prompts(config, text, resume=False, say=quiet)
            assert saved_steps(home / name / "checkpoints") == [3]
            assert max(entry["step"] for entry in read_log(home / name)) > 3
            flag.unlink()
            train_prompts(config, text, resume=True, say=quiet)
        else:
            train_prompts(config, text, resume=False, say=quiet)
        logs[name] = [{key: value for key, value in entry.items() if not key.startswith("speed")} for entry in read_log(home / name)]
    assert [entry["step"] for entry in logs["killed"]] == [entry["step"] for entry in logs["whole"]]
    assert any(entry.get("loss") for entry in logs["whole"])
    assert logs["killed"] == logs["whole"]
    ends = [torch.load(home / name / "checkpoints/step-000006/optimizer.pt", weights_only=True) for name in logs]
    assert all(torch.equal(a, b) for a, b in zip(_tensors(ends[0]), _tensors(ends[1]), strict=True))


def _tensors(tree: object) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    children = list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return [tensor for child in children for tensor in _tensors(child)]


def test_a_run_is_not_started_twice_nor_resumed_with_other_settings(home: Path, learnt: Path) -> None:
    rewards = LIKES.format(toy=home / "toy.py")
    same = {"out": str(home / "learnt"), "generation__per_prompt": 16, "optimiser__kl": 0.0}
    config, text = settings(home, rewards, steps=20, **same)
    with pytest.raises(OutputError, match="holds a run already; continue it with --resume"):
        train_prompts(config, text, resume=False, say=quiet)
    with pytest.raises(OutputError, match="is finished: it has made 20 steps; raise steps"):
        train_prompts(config, text, resume=True, say=quiet)
    config, text = settings(home, rewards, steps=30, seed=1, **same)
    with pytest.raises(OptionError, match="was made with seed = 0, the configuration now says 1"):
        train_prompts(config, text, resume=True, say=quiet)
    config, text = settings(home, rewards, **(same | {"out": str(home / "nothing")}))
    with pytest.raises(OutputError, match="holds no run to resume"):
        train_prompts(config, text, resume=True, say=quiet)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("short", "gave 1 values for 2 samples"),
        ("silent", "gave no usable value for any of 2 test descriptions"),
        ("infinite", "gave inf; it must give finite numbers, or None"),
        ("crash", "the reward 'odd' failed: ValueError: no such satellite"),
    ],
)
def test_a_reward_that_cannot_work_is_known_before_the_model_is_loaded(
    home: Path, function: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainzoom.prompters import vlm_loading

    monkeypatch.setattr(vlm_loading, "load", lambda *_, **__: pytest.fail("loaded"))
    config, text = settings(home, f'[rewards.odd]\nfunction = "{home / "toy.py"}:{function}"\n', out=str(home / "odd"))
    with pytest.raises((OptionError, RewardError), match=message):
        train_prompts(config, text, resume=False, say=quiet)
    assert not (home / "odd" / "config.toml").exists()


def test_abstentions_are_counted_and_too_many_stop_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chainzoom.training.grpo import trainer

    rewards = f'[rewards.moody]\nfunction = "{home / "toy.py"}:moody"\nevery = 4\n[rewards.phrase]\n'
    config, text = settings(home, rewards, out=str(home / "moody"), steps=2)
    # As if killed before the first checkpoint: --resume begins anew.
    (home / "moody" / "tensorboard").mkdir(parents=True)
    (home / "moody" / "tensorboard" / "old").touch()
    (home / "moody" / "config.toml").write_text(text, encoding="utf-8")
    (home / "moody" / "log.jsonl").write_text('{"step": 1, "abstained/moody": 9.0}\n', encoding="utf-8")
    train_prompts(config, text, resume=True, say=quiet)
    assert not (home / "moody" / "tensorboard" / "old").exists()
    log = read_log(home / "moody")
    assert values(log, "abstained/moody").tolist() == [0.25, 0.25]
    assert values(log, "figure/pixels").tolist() == [64.0, 64.0]
    assert values(log, "validation/figure/pixels").tolist() == [64.0, 64.0]
    assert "pixels 64" in (home / "moody" / "examples.md").read_text(encoding="utf-8")
    assert values(log, "validation/abstained/moody").tolist() == [0.5, 0.5]
    monkeypatch.setattr(trainer, "_WATCHED", 16)
    config, text = settings(home, rewards, out=str(home / "moodier"), steps=4, max_abstentions=0.2)
    with pytest.raises(BackendError, match="the reward 'moody' gave no usable answer to 25% of the last 16 samples"):
        train_prompts(config, text, resume=False, say=quiet)


def test_the_chains_own_states_with_fidelity_beside(home: Path) -> None:
    """Everything together: another model, states of a diffusion chain, words that steer it, consistency in the log."""
    pytest.importorskip("diffusers")
    from tests.backbones.tiny_models import tiny_x4

    tiny_vlm.make(home / "model3", "qwen3_vl")
    preset = home / "x4.toml"
    model = tiny_x4(home / "x4")
    preset.write_text(f'[backbone]\nname = "sd_x4"\nmodel_dir = "{model}"\nsteps = 1\n[prompter]\nname = "null"\n', encoding="utf-8")
    example = Path(__file__).parents[3] / "examples/rewards/fidelity.py"
    rewards = f'[rewards.phrase]\n[rewards.fidelity]\nfunction = "{example}:fidelity"\npreset = "{preset}"\nfloor_db = 0.0\n'
    config, text = settings(
        home,
        rewards,
        out=str(home / "states"),
        steps=2,
        save_every=2,
        model__path=str(home / "model3"),
        data__states="chain",
        data__preset=str(preset),
        data__zooms=1,
        data__to=16.0,
        optimiser__gradient_checkpointing=True,
    )
    adapter = train_prompts(config, text, resume=False, say=quiet)
    log = read_log(home / "states")
    decibels, fidelity = values(log, "figure/consistency_db"), values(log, "reward/fidelity")
    np.testing.assert_allclose(fidelity, decibels / 45, rtol=1e-5)
    assert 1 < decibels.min() < decibels.max() < 44
    assert len(values(log, "validation/figure/consistency_db")) == 2
    assert (adapter / "adapter_model.safetensors").is_file()
    assert len(list((home / "states" / "pairs").glob("*/train/000000/*.png"))) == 2


def test_vllm_has_to_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chainzoom.training.grpo import run

    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    config, text = settings(home, "[rewards.phrase]", out=str(home / "vllm"), generation__backend="vllm")
    with pytest.raises(OptionError, match="needs vLLM, which no extra installs: pip install vllm"):
        train_prompts(config, text, resume=False, say=quiet)
    assert not (home / "vllm").exists()
