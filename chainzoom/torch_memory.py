"""Memory that a network takes, computed without a device: what it holds, and what a pass needs on top, run on meta tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch


def held_bytes(module: torch.nn.Module) -> int:
    """Of all parameters and buffers, shared ones once."""
    tensors = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest sum of bytes of tensors that ``run`` makes and holds at one time; works on meta tensors, where nothing is allocated."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    live, peak = 0, 0
    seen: set[int] = set()

    def freed(key: int, size: int) -> None:
        nonlocal live
        live -= size
        seen.discard(key)

    class Count(TorchDispatchMode):  # type: ignore[misc, no-untyped-call, unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal live, peak
            known = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs or {}))}
            answer = func(*args, **(kwargs or {}))
            for tensor in _tensors(answer):
                storage = tensor.untyped_storage()
                if storage._cdata not in seen and storage._cdata not in known:
                    seen.add(storage._cdata)
                    live += storage.nbytes()
                    peak = max(peak, live)
                    weakref.finalize(storage, freed, storage._cdata, storage.nbytes())
            return answer

    class FusedAttention(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.scaled_dot_product_attention:
                given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
                return given["query"].new_empty((*given["query"].shape[:-1], given["value"].shape[-1]))
            return func(*args, **(kwargs or {}))

    count: Any = Count
    with torch.inference_mode(), FusedAttention(), count():
        run()
    return peak


def _tensors(tree: Any) -> list[torch.Tensor]:
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
