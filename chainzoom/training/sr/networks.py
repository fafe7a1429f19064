"""Networks under training: LoRA put in by PEFT, copies that share frozen weights, and trained tensors by name."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from chainzoom.backbones.lora import Factor, Factors
from chainzoom.backbones.torch_common import require
from chainzoom.errors import WeightsError
from chainzoom.seeds import derive

VAE_LAYERS = ("conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", "to_k", "to_q", "to_v", "to_out.0")
VAE_ADAPTER = "default_encoder"
"""The adapter's name in the published files."""


class Batch(NamedTuple):
    """What one micro-step is given, on the device.

    lq, gt   (B, 3, H, W) in [-1, 1]
    words    the recipe's embeddings of the prompts, each (B, ...)
    """

    lq: torch.Tensor
    gt: torch.Tensor
    words: tuple[torch.Tensor, ...]


def add_lora(network: Any, layers: Sequence[str], rank: int, alpha: float, name: str, seed: int) -> None:
    """Wrap the layers (full module names) with a trainable LoRA in float32, up 0 and down N(0, 1/r); all else stays as it is."""
    peft = require("peft", "training", "train")
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(layers))
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters on one network are meant
        torch.manual_seed(derive(seed, name) % 2**63)
        network.add_adapter(config, adapter_name=name)
    for parameter in lora_parameters(network, name).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def lora_parameters(network: torch.nn.Module, name: str) -> dict[str, torch.nn.Parameter]:
    """The adapter's tensors by their names in the network."""
    return {key: parameter for key, parameter in network.named_parameters() if f".lora_A.{name}." in key or f".lora_B.{name}." in key}


@contextmanager
def without_lora(network: torch.nn.Module) -> Iterator[None]:
    """The network as it was before any adapter. (PEFT's own switch also stops the adapters' training, which wrappers do not expect.)"""
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "_disable_adapters")]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def set_factors(network: torch.nn.Module, name: str, factors: Mapping[str, Factor], alpha: float, source: str) -> None:
    """Begin from trained factors (plain parameter names) instead of zero. Raises WeightsError when the layers or ranks differ."""
    own = lora_parameters(network, name)
    layers = {key.partition(".lora_")[0] for key in own}
    if wrong := {f"{layer}.weight" for layer in layers} ^ set(factors):
        raise WeightsError(f"{source} and this recipe train different layers ({len(wrong)}, first: {min(wrong)})")
    with torch.no_grad():
        for layer in layers:
            factor, scale = factors[f"{layer}.weight"], alpha / own[f"{layer}.lora_A.{name}.weight"].shape[0]
            for half, value in (("A", factor.down), ("B", factor.up * (factor.scale / scale))):
                target = own[f"{layer}.lora_{half}.{name}.weight"]
                if target.shape != value.shape:
                    raise WeightsError(
                        f"{source}: {layer} has shape {tuple(value.shape)}, training {tuple(target.shape)}; set network.rank to the file's"
                    )
                target.copy_(value)


def factors_of(trained: Mapping[str, torch.Tensor], name: str, alpha: float) -> Factors:
    """Factors by plain parameter name from an adapter's tensors by wrapped name."""
    found: Factors = {}
    for key, down in trained.items():
        layer, wrapped, _ = key.partition(f".lora_A.{name}.")
        if wrapped:
            up = trained[key.replace(".lora_A.", ".lora_B.")]
            found[f"{layer}.weight"] = Factor(up.float(), down.float(), alpha / down.shape[0])
    return found


def copy_of(network: torch.nn.Module, *, share: bool) -> Any:
    """A second network; with ``share`` its weights are the very same tensors, so only what is added to it takes memory."""
    memo: dict[int, Any] = {id(parameter): parameter for parameter in network.parameters()} if share else {}
    return copy.deepcopy(network, memo)


def encoder_layers(vae: Any) -> list[str]:
    """The encoder's convolutions and attention projections and what follows it, by the rule of the published training; no norms."""
    return [
        name.removesuffix(".weight")
        for name, _ in vae.named_parameters()
        if name.endswith(".weight")
        and "norm" not in name
        and (name == "quant_conv.weight" or (name.startswith("encoder.") and any(part in name for part in VAE_LAYERS)))
    ]


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors below a part, by their names in it."""
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def whole(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter on the CPU, gathered from all processes when it is sharded."""
    gather = getattr(parameter, "full_tensor", None)
    tensor: torch.Tensor = gather() if gather is not None else parameter
    return tensor.detach().to("cpu", copy=True)


def fill(target: torch.Tensor, value: torch.Tensor) -> None:
    """The inverse: put a whole tensor into a parameter, sharded or not."""
    with torch.no_grad():
        if hasattr(target, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            sharded: Any = target
            target.copy_(distribute_tensor(value.to(target.device), sharded.device_mesh, sharded.placements))
        else:
            target.copy_(value)


def freeze(networks: Iterable[torch.nn.Module]) -> None:
    """Nothing of these is trained and nothing drops out."""
    for network in networks:
        network.requires_grad_(False).eval()
