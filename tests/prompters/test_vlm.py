from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")
from PIL import Image as PILImage  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from chainzoom.errors import BackendError, MissingExtraError, OptionError, WeightsError  # noqa: E402
from chainzoom.images import to_uint8  # noqa: E402
from chainzoom.prompters import vlm as vlm_module  # noqa: E402
from chainzoom.prompters import vlm_loading  # noqa: E402
from chainzoom.prompters.asking import Answer, Request  # noqa: E402
from chainzoom.prompters.base import Prompt, Prompter, View  # noqa: E402
from chainzoom.prompters.questions import TWO_IMAGES  # noqa: E402
from chainzoom.prompters.vlm import VLM  # noqa: E402
from chainzoom.weights import sha256_of  # noqa: E402
from tests.prompters import tiny_vlm  # noqa: E402

KINDS = ("qwen2_5_vl", "qwen3_vl")
SAYS = ["orange", "Ġfur", "Ġgrass", "Ġstone"]


@pytest.fixture(scope="module", autouse=True)
def few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """``random`` models talk nonsense that depends on what they see; ``says`` always answer SAYS."""
    root = tmp_path_factory.mktemp("tiny")
    made = {}
    for kind in KINDS:
        made[f"{kind} random"] = tiny_vlm.make(root / f"{kind}-random", kind, seed=1)
        made[f"{kind} says"] = tiny_vlm.make(root / f"{kind}-says", kind, seed=2, says=SAYS)
    return made


def load(folder: Path, **options: object) -> VLM:
    return VLM.from_pretrained(folder, device="cpu", local_files_only=True, **options)


def picture(seed: int, height: int = 60, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def view(seed: int, parent: bool = True, **more: object) -> View:
    return View(parent=picture(seed + 100) if parent else None, crop=picture(seed), scale=4, factor=4, **more)


def request(seed: int, images: int = 2, temperature: float = 0.0) -> Request:
    pixels = tuple(to_uint8(picture(seed * 10 + i, 60 + 20 * (seed % 3))) for i in range(images))
    return Request(pixels, TWO_IMAGES, temperature, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_words_come_out_of_a_checkpoint_folder(folders, kind):
    prompter = load(folders[f"{kind} says"])
    assert isinstance(prompter, Prompter)
    assert prompter.describe([view(1), view(2, parent=False)]) == [Prompt("orange fur grass stone", "vlm")] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_the_library_on_the_official_prompt(folders, kind):
    folder = folders[f"{kind} random"]
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    asked = request(4)
    text = (
        f"<|im_start|>system\n{TWO_IMAGES}<|im_end|>\n<|im_start|>user\n"
        + "<|vision_start|><|image_pad|><|vision_end|>" * 2
        + "<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = processor(text=[text], images=[PILImage.fromarray(p) for p in asked.images], return_tensors="pt")
    model.generation_config.update(do_sample=False, temperature=None, top_k=None, top_p=None)
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = processor.tokenizer.decode(out, skip_special_tokens=True).strip()
    (answer,) = load(folder, max_new_tokens=12).answers([asked])
    assert answer.text == expected
    assert answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_mixed_shapes_answers_as_one_by_one(folders, kind):
    prompter = load(folders[f"{kind} random"], max_new_tokens=8, batch_size=3)
    asked = [request(1), request(2, images=1), request(3), request(5, images=1)]
    together = prompter.answers(asked)
    assert together == [prompter.answers([one])[0] for one in asked]
    assert len({answer.text for answer in together}) > 1


def test_sampling_follows_each_views_seed_and_nothing_else(folders):
    prompter = load(folders["qwen2_5_vl random"], max_new_tokens=8)
    first, second = request(1, temperature=1.0), request(2, temperature=1.0)
    other_seed = Request(first.images, first.question, 1.0, 99)
    together = prompter.answers([first, second, request(3), other_seed])
    assert together[0] == prompter.answers([first])[0]
    assert together[0] == prompter.answers([second, first])[1]
    assert together[0] != together[3]
    assert together[2] == prompter.answers([request(3)])[0]


def test_draws_have_the_probabilities_of_the_softmax():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    rows = 4000
    draw = vlm_module._Draw([1.0] * rows, list(range(rows)))
    words = draw(torch.zeros(rows, 1, dtype=torch.long), logits.expand(rows, -1)).argmax(1)
    share = torch.bincount(words, minlength=4) / rows
    # The nucleus of 0.9 keeps the first three words: 0.5, 0.3 and 0.15 of 0.95.
    torch.testing.assert_close(share, torch.tensor([0.526, 0.316, 0.158, 0.0]), atol=0.03, rtol=0)
    assert torch.equal(vlm_module._Draw([0.0], [1])(torch.zeros(1, 1), logits[None]), logits[None])


def test_nonsense_is_asked_again_and_then_the_parents_prompt_is_used(folders):
    prompter = load(folders["qwen2_5_vl random"], max_new_tokens=8)
    history = (Prompt("a cat", "vlm"),)
    (prompt,) = prompter.describe([view(1, history=history)])
    assert prompt.notes
    assert "detected" in prompt.notes[0]
    if "parent's prompt used" in prompt.notes[0]:
        assert prompt.text == "a cat"
    assert prompter.describe([view(1, history=history)]) == [prompt]


def test_an_answer_stopped_by_the_limit_is_known(folders):
    whole, cut = (load(folders["qwen2_5_vl says"], max_new_tokens=n).answers([request(1)])[0] for n in (5, 3))
    assert whole == Answer("orange fur grass stone", cut=False)
    assert cut == Answer("orange fur grass", cut=True)


def test_the_adapter_changes_the_words_of_the_language_model_only(folders, tmp_path):
    folder = folders["qwen2_5_vl random"]
    plain = load(folder, max_new_tokens=8)
    before = {name: p.clone() for name, p in plain._loaded.model.model.visual.named_parameters()}
    tiny_vlm.make_adapter(tmp_path / "lora", plain._loaded.model, alpha=256)
    merged = load(folder, adapter=tmp_path / "lora", max_new_tokens=8)
    beside = load(folder, adapter=tmp_path / "lora", max_new_tokens=8, merge_adapter=False)
    asked = [request(1), request(2)]
    assert merged.answers(asked) != plain.answers(asked)
    assert merged.answers(asked) == beside.answers(asked)
    assert all(torch.equal(before[name], p) for name, p in merged._loaded.model.model.visual.named_parameters())
    files = [(w.name, w.sha256) for w in merged.weights]
    assert files == [
        ("qwen2_5_vl-random/model.safetensors", sha256_of(folder / "model.safetensors")),
        ("lora/adapter_model.safetensors", sha256_of(tmp_path / "lora" / "adapter_model.safetensors")),
    ]
    assert len(plain.weights) == 1


def test_the_cache_serves_equal_questions_but_not_other_weights(folders, tmp_path, monkeypatch):
    cache = tmp_path / "c.sqlite"
    first = load(folders["qwen2_5_vl says"], cache=cache)
    expected = first.describe([view(1)])
    monkeypatch.setattr(VLM, "_batched", lambda *_: pytest.fail("asked again"))
    assert first.describe([view(1)]) == expected
    assert load(folders["qwen2_5_vl says"], cache=cache).describe([view(1)]) == expected
    monkeypatch.undo()
    assert load(folders["qwen3_vl random"], cache=cache).describe([view(1)]) != expected


@pytest.mark.parametrize(
    ("batch", "memory", "advice"),
    [
        (8, "fast", "batch_size .now 8; next 4"),
        (1, "fast", "--memory balanced"),
        (1, "balanced", "--memory low"),
        (1, "low", "device='cpu'"),
    ],
)
def test_out_of_memory_names_the_next_setting(folders, monkeypatch, batch, memory, advice):
    prompter = load(folders["qwen2_5_vl says"], batch_size=batch, memory=memory)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(prompter._loaded.model, "generate", full)
    with pytest.raises(BackendError, match=advice):
        prompter.describe([view(1)])


def test_a_model_that_does_not_fit_at_all(folders, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    monkeypatch.setattr(transformers.Qwen2_5_VLForConditionalGeneration, "to", full)
    with pytest.raises(BackendError, match="does not fit into the memory of cpu; use --memory low"):
        load(folders["qwen2_5_vl says"])
    assert load(folders["qwen2_5_vl says"], memory="balanced")


def test_other_failures_are_not_hidden(folders, monkeypatch):
    prompter = load(folders["qwen2_5_vl says"])
    monkeypatch.setattr(prompter._loaded.model, "generate", lambda **_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        prompter.describe([view(1)])


def test_overflow_is_said_aloud():
    draw = vlm_module._Draw([0.0], [0])
    draw(torch.zeros(1, 1), torch.tensor([[0.0, 1.0]]))
    draw.check()
    draw(torch.zeros(1, 1), torch.tensor([[0.0, float("nan")]]))
    draw(torch.zeros(1, 1), torch.tensor([[0.0, 1.0]]))
    with pytest.raises(BackendError, match="bfloat16"):
        draw.check()


def test_lower_precision_loads(folders):
    prompter = load(folders["qwen2_5_vl says"], dtype="bfloat16")
    assert prompter._loaded.model.dtype == torch.bfloat16
    assert prompter.describe([view(1)])[0].text == "orange fur grass stone"


def copied(folders, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["qwen2_5_vl says"], tmp_path / "copy"))


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9999]), "cannot be loaded"),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda f: (f / "config.json").unlink(), "holds no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
        (lambda f: (f / "tokenizer.json").unlink(), "cannot be loaded"),
        (lambda f: [(f / n).unlink() for n in ("chat_template.jinja",)], "no chat template"),
        (lambda f: (f / "processor_config.json").unlink(), "cannot be loaded"),
        (lambda f: change_tensors(f, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")), r"1 tensors missing .*layers\.1\.mlp\.up_proj"),
        (lambda f: change_tensors(f, lambda t: t.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(2)})), r"not known .*layers\.7"),
        (lambda f: change_tensors(f, lambda t: t.update({"visual.merger.mlp.2.bias": torch.zeros(3)})), "cannot be loaded|another shape"),
    ],
)
def test_a_broken_checkpoint_is_refused_at_construction(folders, tmp_path, damage, words):
    folder = copied(folders, tmp_path)
    damage(folder)
    with pytest.raises(WeightsError, match=words) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_here_is_named_without_asking_anyone(tmp_path, monkeypatch):
    for source in (str(tmp_path / "none"), "nobody/none"):
        with pytest.raises(WeightsError, match=re.escape(source) + " not found"):
            load(source)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="offline"):
        VLM.from_pretrained("nobody/none", device="cpu", local_files_only=True)


def test_an_adapter_given_as_model(tmp_path):
    tiny_vlm.write_adapter_config(tmp_path)
    with pytest.raises(WeightsError, match="give it as adapter="):
        load(tmp_path)


@pytest.mark.parametrize(
    "options", [{"memory": "tiny"}, {"dtype": "int3"}, {"quantise": "int2"}, {"batch_size": 0}, {"temperature": -1}, {"max_new_tokens": 0}]
)
def test_options_that_make_no_sense(folders, options):
    with pytest.raises(OptionError):
        load(folders["qwen2_5_vl says"], **options)


def test_devices_that_are_not_there(folders):
    with pytest.raises(OptionError, match="teapot"):
        VLM.from_pretrained(folders["qwen2_5_vl says"], device="teapot")


@pytest.mark.parametrize("package", ["torch", "transformers", "torchvision", "bitsandbytes"])
def test_missing_packages_give_the_install_line(folders, monkeypatch, package):
    import importlib

    real = importlib.import_module

    def without(name: str, *rest: object):
        if name.split(".")[0] == package:
            raise ImportError(f"no {name}", name=name)
        return real(name, *rest)

    monkeypatch.setattr("chainzoom.extras.importlib.import_module", without)
    extra = "quant" if package == "bitsandbytes" else "vlm"
    with pytest.raises(MissingExtraError, match=rf"needs {package}.*chainzoom\[{extra}\]"):
        load(folders["qwen2_5_vl says"], quantise="int8" if package == "bitsandbytes" else None)


@pytest.mark.parametrize(
    ("name", "kind", "width", "licence"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 2048, "Qwen Research License (non-commercial)"),
        ("some/folder", "qwen2_5_vl", 2048, "Qwen Research License (non-commercial)"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 3584, "Apache-2.0"),
        ("Qwen/Qwen3-VL-4B-Instruct", "qwen3_vl", 2560, "Apache-2.0"),
        ("some/folder", "qwen2_5_vl", 64, "unknown: see the model card"),
        ("me/mine", "llava", 4096, "unknown: see the model card"),
    ],
)
def test_licences(name, kind, width, licence):
    text = type("Text", (), {"hidden_size": width})()
    assert vlm_loading.licence_of(name, type("Config", (), {"model_type": kind, "text_config": text})()) == licence


def test_every_shard_is_recorded(tmp_path):
    folder = tmp_path / "models--a--b" / "snapshots" / ("0123456789" * 4)
    folder.mkdir(parents=True)
    for n in (1, 2):
        (folder / f"{n}.safetensors").write_bytes(bytes([n]))
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"x": "2.safetensors", "y": "1.safetensors", "z": "2.safetensors"}}'
    )
    first, second = vlm_loading.weights_of("b", folder, "free")
    assert (first.name, first.revision, first.licence) == ("b/1.safetensors", "0123456789" * 4, "free")
    assert second.sha256 == sha256_of(folder / "2.safetensors")


@pytest.mark.parametrize("bits", ["int4", "int8"])
def test_quantised_words_with_the_adapter_beside_them(folders, tmp_path, bits):
    pytest.importorskip("bitsandbytes")
    plain = load(folders["qwen2_5_vl random"], max_new_tokens=6)
    tiny_vlm.make_adapter(tmp_path, plain._loaded.model, alpha=256)
    small = load(folders["qwen2_5_vl random"], quantise=bits, max_new_tokens=6)
    kinds = {name: type(layer).__name__ for name, layer in small._loaded.model.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert {kind for name, kind in kinds.items() if "layers" in name} == {"Linear4bit" if bits == "int4" else "Linear8bitLt"}
    assert {kind for name, kind in kinds.items() if "visual" in name or name == "lm_head"} == {"Linear"}
    if bits == "int4":
        adapted = load(folders["qwen2_5_vl random"], adapter=tmp_path, quantise=bits, max_new_tokens=6)
        assert adapted.answers([request(1)]) != small.answers([request(1)])
        assert load(folders["qwen2_5_vl says"], quantise=bits).describe([view(1)])[0].text == "orange fur grass stone"
