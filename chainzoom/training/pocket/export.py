"""A generator as the run-time backbone reads it: safetensors in half precision, its shape in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from chainzoom.training.pocket.generator import Generator

FILE = "pocket.safetensors"


def write(generator: Generator, path: Path, notes: Mapping[str, str]) -> None:
    """Write the weights; ``notes`` go into the header."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in generator.state_dict().items()}
    save_file(tensors, str(path), metadata={"shape": json.dumps(generator.shape.as_dict()), **notes})
