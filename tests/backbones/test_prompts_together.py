"""Prompts encoded as one batch, as on a GPU: the same embeddings up to rounding, and a prompt on its own is never taken from a batch."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from chainzoom.backbones.osediff_sd3 import OSEDiffSD3
from tests.backbones.tiny_models import CASES


@pytest.fixture
def prompts():
    return OSEDiffSD3.from_files(CASES[0] / "model", lora=None, vae_encoder=None).prompts


def test_a_batch_gives_each_prompts_own_embedding(prompts) -> None:
    texts = ["fur", "grass and stone", "fur", ""]
    alone = [prompts.encode([text]) for text in texts]
    assert prompts.encoded == 3
    prompts._together = 2
    for found, *expected in zip(prompts.encode(texts), *alone, strict=True):
        torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert prompts.encoded == 5, "fur and grass anew, as a pair; the empty one was encoded on its own before"


def test_what_is_kept_depends_on_the_group(prompts) -> None:
    prompts._together = 8
    prompts.encode(["a", "b"])
    prompts.encode(["a", "b"])
    assert prompts.encoded == 2
    prompts.encode(["a", "a"])
    assert prompts.encoded == 3, "a alone is not the a of the pair"
    prompts.encode(["b", "a"])
    assert prompts.encoded == 5


def test_groups_leave_the_cache_by_their_prompts(prompts) -> None:
    prompts._together, prompts._cache_size = 2, 3
    prompts.encode(["a", "b"])
    prompts.encode(["c", "d"])
    prompts.encode(["c", "d"])
    assert prompts.encoded == 4
    prompts.encode(["a", "b"])
    assert prompts.encoded == 6
