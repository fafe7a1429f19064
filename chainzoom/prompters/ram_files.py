"""Reading RAM's and DAPE's files: state dicts without running their pickles, tag lists and thresholds; every key accounted for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from chainzoom.errors import WeightsError
from chainzoom.torch_io import existing, read_pickle

RANK, ALPHA = 8, 1

# Captioning parts of the published file, and buffers that the network computes itself.
_UNUSED = re.compile(
    r"^(text_decoder|tag_encoder)\.|^tagging_head\.(embeddings|pooler)\.|^tagging_head\.encoder\.layer\.\d+\.attention\."
    r"|\.relative_position_index$|\.attn_mask$"
)


def some(names: Iterable[str], limit: int = 4) -> str:
    """The first names and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def read_state(path: str | Path, what: str) -> dict[str, Tensor]:
    """Tensors of a ``.pth`` file, read with ``weights_only``; a ``{"model": ...}`` wrapper is opened.

    Raises WeightsError for a missing, truncated or foreign file and for a pickle with anything but tensors in it.
    """
    loaded = read_pickle(path, what, mapped=True)
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if isinstance(state, dict) and state and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        return {re.sub(r"^vision_multi\.", "tagging_head.", key): value for key, value in state.items()}
    raise WeightsError(f"{what} {path} does not hold a state dict (names to tensors); check that it is the right file")


def read_tags(path: str | Path) -> list[str]:
    """One tag a line, UTF-8."""
    path = existing(path, "tag list")
    try:
        tags = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError):
        tags = []
    if not tags or not all(tag.strip() for tag in tags):
        raise WeightsError(f"tag list {path}: expected UTF-8 text with one tag a line and no empty lines; use ram_tag_list.txt")
    return [tag.strip() for tag in tags]


def read_thresholds(path: str | Path, count: int) -> list[float]:
    """One probability a line, as many as there are tags."""
    path = existing(path, "threshold list")
    try:
        values = [float(line) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (ValueError, OSError):
        values = []
    if not values or not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise WeightsError(f"threshold list {path}: expected one number in [0, 1] a line; use ram_tag_list_threshold.txt")
    if len(values) != count:
        raise WeightsError(f"threshold list {path} has {len(values)} lines, the tag list {count}; use the two files that belong together")
    return values


def load_ram(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put a published state dict into a network built on the meta device; each key is used or known to be unneeded.

    Raises WeightsError that names missing, unknown or misshapen keys.
    """
    expected = model.state_dict()
    given = {key: value for key, value in state.items() if not _UNUSED.search(key)}
    if missing := expected.keys() - given.keys():
        raise WeightsError(f"RAM checkpoint {source} lacks {some(missing)}; use ram_swin_large_14m.pth")
    if unknown := given.keys() - expected.keys():
        raise WeightsError(
            f"RAM checkpoint {source} holds keys that this network does not have: {some(unknown)}; use ram_swin_large_14m.pth"
        )
    if wrong := [key for key in expected if expected[key].shape != given[key].shape]:
        key = wrong[0]
        raise WeightsError(
            f"RAM checkpoint {source}: {key} has shape {tuple(given[key].shape)}, expected {tuple(expected[key].shape)} "
            f"({len(wrong)} such keys); check the sizes and that the tag list belongs to it"
        )
    # Copies, so that the (memory-mapped) file can go.
    model.load_state_dict({key: value.to(torch.float32, copy=True) for key, value in given.items()}, assign=True)


def lora_targets(model: nn.Module) -> list[str]:
    """The layers that DAPE changes: every fused qkv of the Swin blocks, and query and key of the head's cross-attention."""
    return [name for name, _ in model.named_modules() if re.search(r"\.attn\.qkv$|\.crossattention\.self\.(query|key)$", name)]


def merge_dape(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Add DAPE's low-rank updates (scale 1/8) to the weights, in float32.

    A fused qkv carries two pairs stacked: the first for the queries, the second for the values; keys stay as they are. The published
    code ties the head's cross-attention to that of its captioning part ``tag_encoder``, so a LoRA saved under that name is added too.
    Raises WeightsError that names missing, unknown or misshapen keys.
    """
    targets = lora_targets(model)
    # Where a pair is found -> the layer it changes.
    pairs = {name: name for name in targets}
    pairs |= {tied: name for name in targets if f"{(tied := name.replace('tagging_head', 'tag_encoder'))}.lora_A" in state}
    expected = {f"{name}.lora_{side}" for name in pairs for side in "AB"}
    if missing := expected - state.keys():
        raise WeightsError(f"DAPE file {source} lacks {some(missing)}; use DAPE.pth")
    unknown = {key for key in state.keys() - expected if not re.search(r"^(text_decoder|tag_encoder)\..*\.lora_[AB]$", key)}
    if unknown:
        raise WeightsError(f"DAPE file {source} holds keys that belong to no layer: {some(unknown)}; use DAPE.pth")
    for pair, name in pairs.items():
        _merge(name, model.get_parameter(f"{name}.weight"), state[f"{pair}.lora_A"].float(), state[f"{pair}.lora_B"].float(), source)


def _merge(name: str, weight: Tensor, down: Tensor, up: Tensor, source: str) -> None:
    """weight (out, in) += up (out, rank) @ down (rank, in) / 8, or the same for the outer thirds of a fused qkv."""
    rows, columns = weight.shape
    fused = name.endswith(".qkv")
    block = rows // 3 if fused else rows
    starts = (0, 2 * block) if fused else (0,)
    shapes = (RANK * len(starts), columns), (block * len(starts), RANK)
    if (tuple(down.shape), tuple(up.shape)) != shapes:
        raise WeightsError(
            f"DAPE file {source}: {name} has shapes {tuple(down.shape)}, {tuple(up.shape)}, expected {shapes[0]}, {shapes[1]} "
            f"(rank {RANK}); use DAPE.pth with the RAM checkpoint that it was made for"
        )
    with torch.no_grad():
        for i, start in enumerate(starts):
            update = up[i * block : (i + 1) * block] @ down[i * RANK : (i + 1) * RANK]
            weight[start : start + block] += update * (ALPHA / RANK)
