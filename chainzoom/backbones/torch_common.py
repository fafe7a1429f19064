"""What the torch backbones share: precisions, tensors from pictures and back, seeded noise, out-of-memory advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainzoom.errors import BackendError, ImageError, MissingExtraError, OptionError
from chainzoom.extras import need
from chainzoom.images import Image
from chainzoom.torch_io import out_of_memory

try:
    import torch as torch
except ModuleNotFoundError as missing:
    raise MissingExtraError("this backbone", "torch", "diffusion") from missing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_MODES = ("fast", "balanced", "low")


def require(package: str, needed_by: str, extra: str = "diffusion") -> Any:
    """Import an optional package; MissingExtraError with the install line when it is not there."""
    return need(package, needed_by, extra=extra)


def parse_dtype(name: str) -> torch.dtype:
    """``float32``, ``bfloat16`` or ``float16`` as torch's type."""
    if name not in DTYPES:
        raise OptionError(f"dtype must be one of {', '.join(DTYPES)}, not {name!r}")
    return DTYPES[name]


def parse_choice(option: str, value: str, choices: Sequence[str]) -> str:
    """``value`` when it is one of ``choices``; OptionError otherwise."""
    if value not in choices:
        raise OptionError(f"{option} must be one of {', '.join(choices)}, not {value!r}")
    return value


def to_tensor(images: Sequence[Image]) -> torch.Tensor:
    """Pictures (H, W, 3) in [0, 1] of one size to a float32 tensor (B, 3, H, W) in [-1, 1]."""
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise ImageError(f"a batch needs pictures of one size, got {sorted(shapes)}")
    shape = next(iter(shapes))
    if len(shape) != 3 or shape[2] != 3:
        raise ImageError(f"expected (H, W, 3), got {shape}")
    batch = np.empty((len(images), 3, *shape[:2]), dtype=np.float32)
    for row, image in zip(batch, images, strict=True):
        row[...] = image.transpose(2, 0, 1)
    return torch.from_numpy(batch).mul_(2).sub_(1)


def checked_batch(
    name: str, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int] | None, minimum: int
) -> tuple[torch.Tensor, list[int]]:
    """A batch as a tensor (B, 3, H, W) in [-1, 1], and its seeds (zeros when None).

    Raises OptionError when the lengths differ, ImageError for pictures of several sizes or below ``minimum`` pixels a side.
    """
    drawn = list(seeds) if seeds is not None else [0] * len(images)
    if not len(images) == len(prompts) == len(drawn):
        counts = f"{len(images)} pictures, {len(prompts)} prompts, {len(drawn)} seeds"
        raise OptionError(f"a batch needs one prompt and one seed a picture, got {counts}")
    pixels = to_tensor(images)
    height, width = pixels.shape[-2:]
    if min(height, width) < minimum:
        raise ImageError(f"{name} needs at least {minimum}x{minimum} pixels, got {width}x{height}; zoom less or use a larger --size")
    return pixels, drawn


def to_images(tensor: torch.Tensor) -> list[Image]:
    """A tensor (B, 3, H, W) in [-1, 1] to pictures (H, W, 3) float32 clipped to [0, 1]. NaN raises BackendError."""
    pixels = (tensor.detach().float() * 0.5).add_(0.5)  # on the device, which is faster at it
    if not torch.stack(torch.aminmax(pixels)).isfinite().all():  # both are NaN if anything is
        raise BackendError("the network answered NaN or infinity; use dtype bfloat16 or float32 instead of float16")
    array = pixels.clamp_(0, 1).cpu().numpy()
    return [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in array]


def pad_to_multiple(tensor: torch.Tensor, multiple: int) -> torch.Tensor:
    """Grow (B, C, H, W) at the bottom and right until both sides divide by ``multiple``: mirrored, or edge repeated when too small."""
    height, width = tensor.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not (down or right):
        return tensor
    mode = "reflect" if down < height and right < width else "replicate"
    return torch.nn.functional.pad(tensor, (0, right, 0, down), mode=mode)


def seeded_noise(shape: Sequence[int], seeds: Sequence[int]) -> torch.Tensor:
    """Standard normal float32 noise (B, ...), one seed a row; drawn on the CPU, so every device starts from the same numbers."""
    rows = [torch.randn(tuple(shape), generator=torch.Generator("cpu").manual_seed(seed % 2**64)) for seed in seeds]
    return torch.stack(rows)


@contextmanager
def out_of_memory_advice(backbone: str, memory: str) -> Iterator[None]:
    """Turn the device's out-of-memory error into a BackendError that names the next setting to try."""
    try:
        yield
    except RuntimeError as error:  # torch's OutOfMemoryError is one
        if not out_of_memory(error):
            raise
        after = {"fast": "use --memory balanced", "balanced": "use --memory low"}
        remedy = after.get(memory, "use a smaller --size (and close other programs on this device)")
        first = str(error).partition("\n")[0].partition(". ")[0]
        raise BackendError(f"{backbone} ran out of device memory with --memory {memory} ({first}); {remedy}") from error
