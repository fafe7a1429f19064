"""Expected memory of the VLM and of the whole stack, at published sizes on the meta device: computed, not measured."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from chainzoom.errors import OptionError
from chainzoom.prompters.vlm_memory import estimate_vlm_memory, image_tokens
from chainzoom.prompters.vlm_sizes import QWEN25_VL_3B, QWEN25_VL_7B, VLMConfig, build_vlm
from chainzoom.stack_memory import estimate_stack
from chainzoom.torch_memory import held_bytes


@pytest.mark.parametrize(("config", "parameters"), [(QWEN25_VL_3B, 3_754_622_976), (QWEN25_VL_7B, 8_292_166_656)])
def test_published_sizes(config: VLMConfig, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in build_vlm(config).parameters()) == parameters


def tiny() -> VLMConfig:
    text = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"vocab_size": 100, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    return VLMConfig({**QWEN25_VL_3B.text, **text}, {**QWEN25_VL_3B.vision, **vision}, tied=False)


def test_weights_are_what_a_model_holds() -> None:
    held = held_bytes(build_vlm(tiny(), "cpu").to(torch.bfloat16))
    assert estimate_vlm_memory(config=tiny()).weights == held
    assert estimate_vlm_memory(dtype="float32", config=tiny()).weights > 1.99 * held


def test_modes() -> None:
    fast, balanced, low = (estimate_vlm_memory(memory, config=tiny()) for memory in ("fast", "balanced", "low"))
    assert fast.resident == fast.weights == balanced.weights
    assert balanced.resident == 0
    assert low.resident == low.weights < estimate_vlm_memory(quantise="int8", config=tiny()).weights < fast.weights
    assert low.activations == fast.activations
    linear = 2 * sum(m.weight.numel() for m in build_vlm(tiny()).model.language_model.modules() if isinstance(m, torch.nn.Linear))
    assert fast.weights - low.weights == pytest.approx(linear * (1 - 0.5625 / 2), abs=20)


def test_more_to_see_and_to_say_takes_more() -> None:
    base = estimate_vlm_memory().activations
    assert estimate_vlm_memory(batch=2).activations == pytest.approx(2 * base, rel=0.05)
    assert estimate_vlm_memory(size=1024).activations > 3 * base
    assert estimate_vlm_memory(images=1).activations < base
    # Keys and values of one token: 36 layers, 2 heads of 128, 2 bytes.
    assert estimate_vlm_memory(new_tokens=132).activations - base == 100 * 2 * 36 * 2 * 128 * 2
    assert image_tokens(512) == 18 * 18


@pytest.mark.parametrize("options", [{"memory": "tiny"}, {"quantise": "int2"}, {"dtype": "int3"}])
def test_nonsense_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(OptionError):
        estimate_vlm_memory(config=tiny(), **options)


def test_the_whole_stack_meets_the_aims() -> None:
    """Fast <= 24 GB, balanced <= 16 GB, low <= 8 GB with 512 px states, one image at a time."""
    fast, balanced, low = (estimate_stack(memory) for memory in ("fast", "balanced", "low"))
    for stack, limit in ((fast, 24e9), (balanced, 16e9), (low, 8e9)):
        assert stack.backbone.total <= stack.in_turn <= stack.overlapped <= limit
    assert fast.overlapped == fast.backbone.total + fast.prompter.total
    assert balanced.overlapped < balanced.backbone.total + balanced.prompter.total, "guests wait for each other"
