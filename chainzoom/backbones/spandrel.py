"""Any super-resolution checkpoint that the spandrel library reads (ESRGAN, SwinIR, HAT, DAT, ...): no words, no noise."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.checkpoints import describe_file, read_tensors
from chainzoom.backbones.torch_common import out_of_memory_advice, parse_dtype, require, to_images, to_tensor, torch
from chainzoom.errors import OptionError, WeightsError
from chainzoom.images import Image
from chainzoom.torch_io import existing, parse_device, read_pickle


class Spandrel:
    """A single network, image in, larger image out. Build it with ``from_files``."""

    def __init__(self, model: Any, file: Path, device: torch.device, dtype: torch.dtype, licence: str) -> None:
        """``model``: spandrel's ImageModelDescriptor."""
        self._model, self._file, self._device, self._dtype, self._licence = model, file, device, dtype, licence
        self._facts: BackboneFacts | None = None
        self._lock = threading.RLock()

    @classmethod
    def from_files(
        cls,
        path: str | os.PathLike[str],
        device: str = "cpu",
        dtype: str = "float32",
        *,
        licence: str = "not stated; ask whoever published the file",
    ) -> Spandrel:
        """Read a ``.pth``/``.pt``/``.ckpt`` (tensors only) or ``.safetensors`` checkpoint; its architecture is recognised by its keys.

        Raises WeightsError when the file is missing, truncated, unsafe, of no known architecture, or no RGB super-resolution network.
        """
        library = require("spandrel", "the spandrel backbone")
        file = existing(path, "checkpoint", "give a super-resolution checkpoint (.pth or .safetensors)")
        kind, place = parse_dtype(dtype), parse_device(device)
        state = read_tensors(file, "checkpoint") if file.suffix == ".safetensors" else read_pickle(file, "checkpoint")
        if not isinstance(state, dict) or not state:
            raise WeightsError(f"checkpoint {file} holds {type(state).__name__}, not named tensors; give a super-resolution checkpoint")
        try:
            model = library.ModelLoader(device="cpu").load_from_state_dict(library.canonicalize_state_dict(state))
        except Exception as error:  # UnsupportedModelError, or the architecture's own RuntimeError, KeyError, AssertionError, ...
            raise WeightsError(
                f"checkpoint {file} is of no architecture that spandrel knows, or incomplete ({type(error).__name__})"
            ) from error
        purpose = getattr(model, "purpose", "")
        if not isinstance(model, library.ImageModelDescriptor) or model.scale < 2 or purpose not in ("SR", "FaceSR"):
            raise WeightsError(
                f"checkpoint {file} is a {model.architecture.name} for {purpose} at {model.scale}x; give a super-resolution checkpoint"
            )
        if (model.input_channels, model.output_channels) != (3, 3):
            raise WeightsError(
                f"checkpoint {file} takes {model.input_channels} channels and gives {model.output_channels}; give one for RGB"
            )
        supported = {torch.float16: model.supports_half, torch.bfloat16: model.supports_bfloat16}
        if not supported.get(kind, True):
            raise OptionError(f"{model.architecture.name} does not work in {dtype}; use --dtype float32")
        with out_of_memory_advice("spandrel", "fast"):
            model.to(place, kind).eval()
        return cls(model, file, place, kind, licence)

    @property
    def architecture(self) -> str:
        """Name of the network's architecture, e.g. ``ESRGAN``."""
        return str(self._model.architecture.name)

    @property
    def facts(self) -> BackboneFacts:
        """Facts; the scale is the network's own. Sizes are unrestricted: spandrel pads and crops where an architecture is particular."""
        with self._lock:
            if self._facts is None:
                weights = (describe_file(self._file, self._file.name, self._licence),)
                self._facts = BackboneFacts("spandrel", scale=int(self._model.scale), weights=weights)
            return self._facts

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """Enlarge ``image`` (h, w, 3) to (h * scale, w * scale, 3); prompt and seed change nothing."""
        pixels = to_tensor([image]) / 2 + 0.5  # spandrel wants [0, 1]
        with self._lock, torch.no_grad(), out_of_memory_advice("spandrel", "fast"):
            return to_images(self._model(pixels.to(self._device, self._dtype)).float() * 2 - 1)[0]
