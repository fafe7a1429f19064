"""Checkpoints that are missing, cut short, of another model, or carry code: refused when the backbone is built, by name."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file

from chainzoom.backbones import checkpoints
from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.errors import WeightsError
from tests.backbones.tiny_models import CASES

CASE = CASES[0]


class Payload:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CASE / "model", tmp_path / "model"))


def load(model: Path = CASE / "model", lora: Path = CASE / "sr_lora.pkl", vae: Path = CASE / "vae_encoder.pt"):
    return OSEDiffSD3.from_files(model, lora=lora, vae_encoder=vae)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_whole_folder_loads(model: Path) -> None:
    assert load(model).facts.name == "osediff_sd3"


@pytest.mark.parametrize(
    "part",
    ["transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", "text_encoder_3/model.safetensors"],
)
def test_cut_weights(model: Path, part: str) -> None:
    cut(model / part)
    with pytest.raises(WeightsError, match="truncated") as error:
        load(model)
    assert Path(part).parent.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("transformer", "transformer is missing"),
        ("transformer/config.json", "config.json is missing"),
        ("vae/diffusion_pytorch_model.safetensors", r"vae holds no \*.safetensors weights"),
        ("scheduler/scheduler_config.json", "scheduler_config.json is missing"),
        ("tokenizer_2", "tokenizer_2 is missing"),
        ("tokenizer_3/tokenizer.json", "tokenizer_3 holds none of tokenizer.json"),
    ],
)
def test_missing_files(model: Path, gone: str, words: str) -> None:
    path = model / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsError, match=words):
        load(model)


def test_a_cut_or_swapped_tokenizer(model: Path) -> None:
    cut(model / "tokenizer_3/tokenizer.json")
    with pytest.raises(WeightsError, match="tokenizer_3 is not readable"):
        load(model)
    shutil.rmtree(model / "tokenizer_3")
    shutil.copytree(model / "tokenizer", model / "tokenizer_3")  # 95 words for an encoder that knows 50
    with pytest.raises(WeightsError, match="tokenizer_3 has 95 words, its encoder only 50"):
        load(model)


def test_missing_folder_and_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model folder .*nothing is missing"):
        load(tmp_path / "nothing")
    with pytest.raises(WeightsError, match=r"no\.pkl is missing"):
        load(lora=tmp_path / "no.pkl")
    with pytest.raises(WeightsError, match=r"no\.pt is missing"):
        load(vae=tmp_path / "no.pt")


def rewrite(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", "proj_out.bias"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"),
        ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias"),
        ("text_encoder_3/model.safetensors", "encoder.final_layer_norm.weight"),
    ],
)
def test_every_key_counts(model: Path, part: str, key: str) -> None:
    """Both libraries only warn about such files, and run on random numbers."""
    rewrite(model / part, lambda tensors: tensors.pop(key))
    with pytest.raises(WeightsError, match="1 tensors missing"):
        load(model)
    rewrite(model / part, lambda tensors: tensors.update({key: load_file(CASE / "model" / part)[key], "one.more": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"1 tensors not expected .*one\.more"):
        load(model)


def test_old_position_ids_are_harmless(model: Path) -> None:
    ids = torch.arange(77)[None]
    rewrite(model / "text_encoder/model.safetensors", lambda tensors: tensors.update({"text_model.embeddings.position_ids": ids}))
    assert load(model) is not None


def test_weights_of_another_size(model: Path) -> None:
    config = model / "transformer/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": 2}))
    with pytest.raises(WeightsError, match="transformer"):
        load(model)


def test_another_pipeline(model: Path) -> None:
    config = model / "scheduler/scheduler_config.json"
    config.write_text(json.dumps({"_class_name": "DDPMScheduler"}))
    with pytest.raises(WeightsError, match="DDPMScheduler, not Stable Diffusion 3's"):
        load(model)


def test_parts_of_different_models(model: Path) -> None:
    shutil.rmtree(model / "text_encoder")
    shutil.copytree(model / "text_encoder_2", model / "text_encoder")
    with pytest.raises(WeightsError, match="pooled_projection_dim is 80 but both CLIP projection_dim is 96"):
        load(model)


def test_shards_are_read_through_their_index(model: Path) -> None:
    from diffusers import SD3Transformer2DModel

    whole = SD3Transformer2DModel.from_pretrained(model / "transformer")
    shutil.rmtree(model / "transformer")
    whole.save_pretrained(model / "transformer", max_shard_size="1MB")
    files = checkpoints.tensor_files(model / "transformer")
    assert len(files) > 1
    sharded, plain = load(model), load()
    assert all(torch.equal(a, b) for a, b in zip(sharded._transformer.parameters(), plain._transformer.parameters(), strict=True))
    files[0].unlink()
    with pytest.raises(WeightsError, match="checkpoint shard"):
        load(model)


@pytest.mark.parametrize("which", ["lora", "vae"])
def test_pickles_with_code_are_not_run(tmp_path: Path, capsys, which: str) -> None:
    torch.save([Payload()], tmp_path / "evil.pkl")
    with pytest.raises(WeightsError, match=r"evil\.pkl holds code"):
        load(**{which: tmp_path / "evil.pkl"})
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("which", ["lora", "vae"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_pickles_that_are_none(tmp_path: Path, which: str, content: bytes | None) -> None:
    path = tmp_path / "bad.pkl"
    shutil.copy(CASE / "sr_lora.pkl", path)
    cut(path) if content is None else path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.pkl is"):
        load(**{which: path})


def test_early_vae_names_are_read(tmp_path: Path) -> None:
    tensors = {"mid.attentions.0.query.weight": torch.ones(2), "mid.attentions.0.proj_attn.bias": torch.zeros(2)}
    save_file(tensors, tmp_path / "vae.safetensors")
    read = checkpoints.lazy_reader([tmp_path / "vae.safetensors"])
    assert torch.equal(read("mid.attentions.0.to_q.weight"), torch.ones(2))
    assert torch.equal(read("mid.attentions.0.to_out.0.bias"), torch.zeros(2))
    with pytest.raises(WeightsError, match="holds no tensor other"):
        read("other")


def test_an_early_vae_loads(model: Path) -> None:
    new_to_old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def age(tensors) -> None:
        for name in [name for name in tensors if ".attentions." in name]:
            old = name
            for new, early in new_to_old.items():
                old = old.replace(new, early)
            tensors[old] = tensors.pop(name)

    rewrite(model / "vae/diffusion_pytorch_model.safetensors", age)
    aged, plain = load(model), load()
    assert all(torch.equal(a, b) for a, b in zip(vae_of(aged).parameters(), vae_of(plain).parameters(), strict=True))


def vae_of(backbone):
    with backbone._placement.use("vae") as vae:
        return vae


def test_a_hub_snapshot_states_its_commit(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    path = tmp_path / "snapshots" / commit / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert checkpoints.describe_file(path, "model", "CC0").revision == commit
