from __future__ import annotations

import builtins
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.errors import ImageError, MissingExtraError, WeightsError
from chainzoom.images import from_uint
from chainzoom.prompters.base import Prompter, View
from chainzoom.prompters.dape import DAPE
from chainzoom.weights import sha256_of

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file

GOLDEN = Path(__file__).parents[1] / "golden" / "ram_tiny_a"
CASE = json.loads((GOLDEN / "case.json").read_text())


def make(**changes: object) -> DAPE:
    files = {
        "ram": GOLDEN / "ram.pth",
        "dape": GOLDEN / "dape.pth",
        "tags": GOLDEN / "tags.txt",
        "thresholds": GOLDEN / "thresholds.txt",
        "config": CASE,
    }
    return DAPE.from_files(**{**files, **changes})


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in load_file(GOLDEN / "expected.safetensors").items()}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return from_uint(np.asarray(PILImage.open(GOLDEN / "input.png").convert("RGB")))


@pytest.fixture(scope="module")
def whole_lora(tmp_path_factory) -> Path:
    """Both parts of the LoRA that shaped the golden logits; see the golden README."""
    path = tmp_path_factory.mktemp("lora") / "DAPE.pth"
    parts = [torch.load(GOLDEN / name, weights_only=True) for name in ("dape.pth", "tag_encoder_lora.pth")]
    torch.save(parts[0] | parts[1], path)
    return path


@pytest.fixture(scope="module")
def dape() -> DAPE:
    return make()


@pytest.mark.parametrize("which", ["dape", "ram"])
def test_logits_and_tags_are_those_of_the_published_code(which, whole_lora, image, expected):
    tagger = make(dape=whole_lora if which == "dape" else None)
    logits = tagger.logits(image)
    assert logits.shape == (40,)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected[f"logits_{which}"][0], atol=1e-3)
    assert ", ".join(tagger.tags(image)) == CASE[f"tags_{which}"]


def test_the_lora_matters(expected):
    assert np.abs(expected["logits_dape"] - expected["logits_ram"]).max() > 0.01


def test_pixels_are_resized_and_normalised_as_published(dape, image, expected):
    np.testing.assert_allclose(dape._pixels(image).numpy(), expected["pixel_values"], atol=1e-5)


def test_image_tokens_with_the_lora(dape, expected):
    with torch.inference_mode():
        tokens = dape._model.image_embeds(torch.from_numpy(expected["pixel_values"]))
    np.testing.assert_allclose(tokens.numpy(), expected["image_embeds_dape"], atol=1e-3)


def test_describe_looks_at_the_crop_and_batches(dape, image):
    assert isinstance(dape, Prompter)
    other = image[::-1].copy()
    views = [View(parent=other, crop=image, scale=4, factor=4), View(parent=None, crop=other, scale=4, factor=4)]
    first, second = dape.describe(views)
    assert first.text == CASE["tags_dape"]
    assert first.source == "dape"
    assert first.notes == ()
    assert {tag for tag, _ in first.tags} == set(first.text.split(", "))
    probabilities = [p for _, p in first.tags]
    assert probabilities == sorted(probabilities, reverse=True)
    assert dict(first.tags)["tag 01"] == pytest.approx(1 / (1 + np.exp(-dape.logits(image)[1])), abs=1e-4)
    assert [dape.describe([view])[0].text for view in views] == [first.text, second.text]


def test_nothing_above_the_thresholds_is_said_aloud(tmp_path, image):
    (tmp_path / "high.txt").write_text("1.0\n" * 40)
    (prompt,) = make(thresholds=tmp_path / "high.txt").describe([View(parent=None, crop=image, scale=4, factor=4)])
    assert (prompt.text, prompt.tags) == ("", ())
    assert "threshold" in prompt.notes[0]


def test_weights_are_hashed_and_carry_a_licence(dape):
    ram, lora = dape.weights
    assert (ram.name, ram.sha256) == ("ram.pth", sha256_of(GOLDEN / "ram.pth"))
    assert (lora.name, lora.sha256) == ("dape.pth", sha256_of(GOLDEN / "dape.pth"))
    assert "Apache-2.0" in ram.licence
    assert len(make(dape=None).weights) == 1


def saved(tmp_path: Path, change) -> Path:
    state = torch.load(GOLDEN / "ram.pth", weights_only=True)["model"]
    change(state)
    torch.save({"model": state}, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


def test_older_names_and_unneeded_parts_are_read(tmp_path, image, expected):
    def older(state):
        for key in [k for k in state if k.startswith("tagging_head.")]:
            state[key.replace("tagging_head", "vision_multi")] = state.pop(key)
        state["visual_encoder.layers.0.blocks.1.attn_mask"] = torch.zeros(64, 144, 144)
        state["text_decoder.cls.predictions.bias"] = torch.zeros(3)
        state["tag_encoder.embeddings.position_ids"] = torch.zeros(1, 3)
        state["vision_multi.embeddings.word_embeddings.weight"] = torch.zeros(3, 48)

    logits = make(ram=saved(tmp_path, older), dape=None).logits(image)
    np.testing.assert_allclose(logits, expected["logits_ram"][0], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("visual_encoder.layers.2.blocks.1.attn.qkv.weight"), "lacks visual_encoder.layers.2.blocks.1.attn.qkv.weight"),
        (lambda s: s.update({"visual_encoder.extra": torch.zeros(1)}), "visual_encoder.extra"),
        (lambda s: s.update({"fc.weight": torch.zeros(2, 48)}), r"fc.weight has shape \(2, 48\), expected \(1, 48\)"),
        (lambda s: s.update({"label_embed": torch.zeros(41, 512)}), "has 40 tags, the RAM checkpoint .* knows 41"),
    ],
)
def test_a_wrong_ram_checkpoint_is_named_with_its_keys(tmp_path, change, words):
    with pytest.raises(WeightsError, match=words):
        make(ram=saved(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("tagging_head.encoder.layer.1.crossattention.self.key.lora_A"), "lacks tagging_head.encoder.layer.1"),
        (lambda s: s.update({"visual_encoder.patch_embed.proj.lora_A": torch.zeros(8, 8)}), "visual_encoder.patch_embed.proj.lora_A"),
        (lambda s: s.update({"tag_encoder.encoder.layer.0.crossattention.self.key.lora_A": torch.zeros(8, 512)}), "lacks tag_encoder"),
        (lambda s: s.update({"visual_encoder.layers.0.blocks.0.attn.qkv.lora_A": torch.zeros(8, 16)}), r"rank 8"),
    ],
)
def test_a_wrong_dape_file_is_named_with_its_keys(tmp_path, change, words):
    state = torch.load(GOLDEN / "dape.pth", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=words):
        make(dape=tmp_path / "bad.pth")


def test_a_lora_on_the_captioning_part_does_not_reach_the_tags(tmp_path, dape, image):
    state = torch.load(GOLDEN / "dape.pth", weights_only=True)
    state["text_decoder.bert.encoder.layer.0.attention.self.query.lora_A"] = torch.ones(8, 48)
    state["tag_encoder.encoder.layer.0.attention.self.query.lora_B"] = torch.ones(48, 8)
    torch.save(state, tmp_path / "more.pth")
    np.testing.assert_array_equal(make(dape=tmp_path / "more.pth").logits(image), dape.logits(image))


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-a-pickle"),))


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "broken.pth"
    if kind == "truncated":
        path.write_bytes((GOLDEN / "ram.pth").read_bytes()[:100_000])
    elif kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "empty":
        path.touch()
    elif kind == "code":
        torch.save({"model": Evil()}, path)
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "list":
        torch.save([torch.zeros(1)], path)
    return path


@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "empty", "code", "plain pickle", "list"])
@pytest.mark.parametrize("which", ["ram", "dape"])
def test_broken_files_are_refused_at_construction(tmp_path, monkeypatch, kind, which):
    monkeypatch.chdir(tmp_path)
    path = broken(tmp_path, kind)
    with pytest.raises(WeightsError, match=re.escape(str(path))) as caught:
        make(**{which: path})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [("0.5\n" * 39, "39 lines, the tag list 40"), ("0.5\n" * 39 + "much\n", "one number"), ("7\n" * 40, "one number"), ("", "one number")],
)
def test_wrong_thresholds(tmp_path, content, words):
    (tmp_path / "t.txt").write_text(content)
    with pytest.raises(WeightsError, match=words):
        make(thresholds=tmp_path / "t.txt")


def test_wrong_tags(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WeightsError, match="one tag a line"):
        make(tags=tmp_path / "t.txt")
    with pytest.raises(WeightsError, match="is missing"):
        make(tags=tmp_path / "none.txt")


def test_only_colour_images(dape):
    with pytest.raises(ImageError, match=r"\(8, 8\)"):
        dape.logits(np.zeros((8, 8), np.float32))


def test_without_torch_the_install_line_is_given(monkeypatch):
    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name.split(".")[0] == "torch":
            raise ImportError("no", name="torch")
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", no_torch)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'chainzoom[vlm]'")):
        make()


def published_names() -> set[str]:
    """Names of the real checkpoint: those of the tiny one, with 18 blocks in the third stage."""
    names = set(torch.load(GOLDEN / "ram.pth", weights_only=True)["model"])
    third = [name for name in names if name.startswith("visual_encoder.layers.2.blocks.0.")]
    return names | {name.replace("blocks.0.", f"blocks.{i}.") for name in third for i in range(18)}


def test_real_sizes_take_every_published_key():
    from chainzoom.prompters import ram_files
    from chainzoom.prompters.ram_head import RAM, REAL_CONFIG

    with torch.device("meta"):
        model = RAM(REAL_CONFIG, 4585)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    names = published_names()
    assert {name for name in names if not name.endswith("relative_position_index")} == set(shapes)
    assert shapes["label_embed"] == (4585, 512)
    assert shapes["image_proj.weight"] == (512, 1536)
    assert shapes["visual_encoder.layers.3.blocks.1.attn.relative_position_bias_table"] == (529, 48)
    state = {name: torch.empty(shapes.get(name, (144, 144)), device="meta") for name in names}
    ram_files.load_ram(model, state, "full size")
    assert len(ram_files.lora_targets(model)) == 24 + 4
    state.pop("fc.bias")
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        ram_files.load_ram(model, state, "full size")


def test_real_encoder_has_as_many_parameters_as_transformers_swin():
    transformers = pytest.importorskip("transformers")
    from chainzoom.prompters.ram_head import RAM, REAL_CONFIG

    swin = REAL_CONFIG["swin"]
    config = transformers.SwinConfig(
        image_size=swin["image_res"],
        embed_dim=swin["embed_dim"],
        depths=swin["depths"],
        num_heads=swin["num_heads"],
        window_size=swin["window_size"],
    )
    with torch.device("meta"):
        reference, model = transformers.SwinModel(config, add_pooling_layer=False), RAM(REAL_CONFIG, 4585)
    count = sum(p.numel() for p in model.visual_encoder.parameters())
    assert count == sum(p.numel() for p in reference.parameters())
