"""Interpolation as a backbone: nothing learned, nothing invented."""

from __future__ import annotations

from chainzoom.backbones.base import BackboneFacts
from chainzoom.images import Image, Kernel, clip, resize


class Interpolation:
    """Enlarges by 4 with one of Pillow's kernels; the prompt and the seed change nothing."""

    kernel: Kernel

    @property
    def facts(self) -> BackboneFacts:
        """Scale 4, any size."""
        return BackboneFacts(self.kernel)

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """(H, W, 3) in [0, 1] to (4H, 4W, 3) in [0, 1]."""
        return clip(resize(image, (image.shape[1] * 4, image.shape[0] * 4), self.kernel))


class Nearest(Interpolation):
    """Nearest neighbour: every pixel becomes a square."""

    kernel: Kernel = "nearest"


class Bicubic(Interpolation):
    """Bicubic convolution (a = -0.5)."""

    kernel: Kernel = "bicubic"


class Lanczos(Interpolation):
    """Lanczos with three lobes."""

    kernel: Kernel = "lanczos"
