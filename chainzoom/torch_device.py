"""Working on a device beside others: weights that come for a while, and queues of work (streams) that do not wait for one another.

PyTorch gives every thread the same default stream, on which kernels run one after another. Parts that are to overlap on one GPU, as the
prompter and the backbone do in ``many.run_many``, each bring a Lane.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Lane:
    """A part's own stream on a CUDA device; does nothing elsewhere.

    What was queued before (weights that moved, adapters that were merged) is done before the lane's work begins, and what is queued after
    waits for it. Let results leave the device, or be used in the same lane, before the block ends: the allocator does not know of others.
    """

    def __init__(self, device: torch.device, *, urgent: bool = False) -> None:
        """``urgent`` work, made of many short kernels, goes before another lane's long ones when both wait."""
        self._device, self._urgent = device, urgent
        self._stream: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run the block's kernels on the lane; one thread at a time."""
        if self._device.type != "cuda":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device, priority=-1 if self._urgent else 0)
        outside = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)


def slots_of(module: torch.nn.Module) -> list[tuple[dict[str, Any], str, torch.Tensor]]:
    """Every place that holds a parameter or buffer: its table, its name there, the tensor (a tied one stands in several places)."""
    tables: list[dict[str, Any]] = [table for part in module.modules() for table in (part._parameters, part._buffers)]
    return [(table, name, tensor) for table in tables for name, tensor in table.items() if tensor is not None]


_turn = threading.RLock()


@contextmanager
def visiting(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """The module on the device for a while. Its host copy stays where it was, so leaving copies nothing back.

    Visitors come one at a time, also from several threads: modes that save memory count on that.
    """
    slots = slots_of(module)
    moved: dict[int, torch.Tensor] = {}  # tied weights move once
    with _turn:
        try:
            with torch.inference_mode(False), torch.no_grad():
                for table, name, tensor in slots:
                    if id(tensor) not in moved:
                        copy = tensor.detach().to(device, non_blocking=True)  # only pinned memory (``pin``) makes a difference
                        parameter = isinstance(tensor, torch.nn.Parameter)
                        moved[id(tensor)] = torch.nn.Parameter(copy, requires_grad=False) if parameter else copy
                        del copy
                    table[name] = moved[id(tensor)]
            yield
        finally:
            for table, name, tensor in slots:
                table[name] = tensor
            moved.clear()
            if device.type == "cuda":
                torch.cuda.empty_cache()  # a lane's freed memory is of no use to another lane


def pin(module: torch.nn.Module) -> bool:
    """Lock the module's host memory, in place, which lets a GPU fetch it several times faster; False when the system will not.

    Weights that visit a device at every step are worth it. Tensors elsewhere than on the CPU stay as they are.
    """
    with torch.inference_mode(False), torch.no_grad():
        for tensor in {id(tensor): tensor for _, _, tensor in slots_of(module)}.values():
            if tensor.device.type == "cpu" and not tensor.is_pinned():
                try:
                    tensor.data = tensor.data.pin_memory()
                except RuntimeError:  # the limit on locked memory
                    return False
    return True
