"""Lanes (streams), visitors and pinned memory. CUDA is played by fakes that note what they are asked."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from chainzoom.torch_device import Lane, pin, visiting


class FakeStream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def wait_stream(self, other: FakeStream) -> None:
        self._log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for ``torch.cuda``."""
    lines: list[str] = []
    outside = FakeStream("outside", lines)

    def make(device: object, priority: int) -> FakeStream:
        lines.append(f"made with priority {priority}")
        return FakeStream("own", lines)

    @contextmanager
    def stream(chosen: FakeStream):
        lines.append(f"on {chosen.name}")
        yield
        lines.append(f"off {chosen.name}")

    monkeypatch.setattr(torch, "cuda", SimpleNamespace(Stream=make, current_stream=lambda device: outside, stream=stream))
    return lines


def test_a_lane_is_fenced_on_both_sides(log: list[str]) -> None:
    lane = Lane(torch.device("cuda"))
    for _ in range(2):
        with lane():
            log.append("work")
    once = ["own waits for outside", "on own", "work", "off own", "outside waits for own"]
    assert log == ["made with priority 0", *once, *once]


def test_a_lane_is_fenced_after_a_failure_too(log: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), Lane(torch.device("cuda"), urgent=True)():
        raise ZeroDivisionError
    assert log[0] == "made with priority -1"
    assert log[-1] == "outside waits for own"


def test_a_lane_does_nothing_on_the_cpu(log: list[str]) -> None:
    with Lane(torch.device("cpu"))():
        pass
    assert log == []


def test_visitors_come_one_at_a_time() -> None:
    inside = threading.Event()
    order: list[str] = []

    def second() -> None:
        assert inside.wait(10)
        with visiting(torch.nn.Linear(2, 2), torch.device("meta")):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with visiting(torch.nn.Linear(2, 2), torch.device("meta")):
        inside.set()
        other.join(0.1)
        with visiting(torch.nn.Linear(2, 2), torch.device("meta")):
            order.append("nested in the first")
    other.join(10)
    assert order == ["nested in the first", "second"]


def test_pinning_keeps_values_and_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    second.weight = first.weight
    pair = torch.nn.Sequential(first, second, torch.nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    pinned: list[int] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: self.data_ptr() in pinned)

    def locked(self: torch.Tensor) -> torch.Tensor:
        copy = self.clone()
        pinned.append(copy.data_ptr())
        return copy

    monkeypatch.setattr(torch.Tensor, "pin_memory", locked)
    assert pin(pair)
    assert first.weight is second.weight
    assert all(tensor.is_pinned() for tensor in pair.state_dict().values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.state_dict().items())
    count = len(pinned)
    assert pin(pair)
    assert len(pinned) == count, "what is pinned stays as it is"


def test_a_system_that_will_not_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("cannot lock memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refused)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: False)
    assert not pin(torch.nn.Linear(2, 2))
