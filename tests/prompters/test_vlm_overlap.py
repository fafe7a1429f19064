"""The real backbone and the real prompter, tiny, in ``run_many``: each waits inside its network for the other, so they must run at once."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("torchvision")

from chainzoom import Chain
from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from chainzoom.many import run_many
from chainzoom.prompters.vlm import VLM
from tests.backbones.tiny_models import CASES
from tests.conftest import natural
from tests.prompters import tiny_vlm


@pytest.mark.parametrize("memory", ["fast", "balanced"])
def test_words_and_pixels_are_made_at_the_same_time(tmp_path: Path, memory: str) -> None:
    files = {"lora": CASES[0] / "sr_lora.pkl", "vae_encoder": CASES[0] / "vae_encoder.pt"}
    backbone = OSEDiffSD3.from_files(CASES[0] / "model", **files, memory=memory)
    folder = tiny_vlm.make(tmp_path / "vlm", says=["orange", "Ġfur"])
    photos = [natural(64, 64, seed) for seed in range(2)]

    def chain_of(prompter: VLM) -> Chain:
        return Chain(backbone, prompter, size=64, protocol="paper", consistency=0.0)

    # In ``balanced`` the text encoders and the VLM take turns on the device; this run leaves the words' embeddings in the cache.
    first, prompter = (VLM.from_pretrained(folder, device="cpu", memory=memory, max_new_tokens=4) for _ in range(2))
    alone = [[step.image for step in chain_of(first).run(photo, to=4)] for photo in photos]
    chain = chain_of(prompter)

    barrier = threading.Barrier(2, timeout=30)
    met: list[str] = []
    generate, transformer = prompter._loaded.model.generate, backbone._transformer
    asked = 0

    def wait(name: str) -> None:
        barrier.wait()
        met.append(name)

    def speak(**inputs: object) -> object:
        nonlocal asked
        asked += 1
        if asked == 2:  # the second photo's words, while the first one's pixels are made
            wait("words")
        return generate(**inputs)

    prompter._loaded.model.generate = speak
    handle = transformer.register_forward_pre_hook(lambda *_: wait("pixels") if not met else None)
    made: dict[int, list] = {}
    for number, step in run_many(chain, [chain.course(photo, to=4) for photo in photos], batch=1, ahead=2):
        made.setdefault(number, []).append(step.image)
    handle.remove()
    assert sorted(met) == ["pixels", "words"]
    for number, images in enumerate(alone):
        assert [image.tobytes() for image in made[number]] == [image.tobytes() for image in images]
