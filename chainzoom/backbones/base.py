"""What the chain knows of a super-resolution backbone: a callable plus facts.

A backbone enlarges a picture by a fixed factor, possibly steered by words. Devices, precision, tiling and memory are its own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from chainzoom.images import Image
from chainzoom.weights import Weights


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What a backbone is and needs.

    name        registry name, e.g. ``realesrgan``
    scale       enlargement of one call (integer >= 1)
    multiple    height and width of the input must be multiples of this (1: any)
    min_size    smallest height and width of the input in pixels
    uses_prompt whether ``prompt`` changes the output
    stochastic  whether ``seed`` changes the output
    input       ``lowres``: takes (h, w), gives (h*scale, w*scale). ``upscaled``: wants its input already enlarged
                by ``scale`` with bicubic interpolation and gives the same size back (OSEDiff)
    generative  whether it is a generative model (diffusion, GAN with noise), for which IPTC has a term of its own
    runtime     what evaluates the network, where that decides the last bits, e.g. ``openvino-bf16``
    weights     every weight file that shaped the output
    """

    name: str
    scale: int = 4
    multiple: int = 1
    min_size: int = 1
    uses_prompt: bool = False
    stochastic: bool = False
    input: str = "lowres"
    weights: tuple[Weights, ...] = field(default=())
    generative: bool = False
    runtime: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A super-resolution network or interpolation.

    One that loads late or needs a server may also have ``check()``: it is called before the first image is touched and raises what the
    first use would. The same holds for prompters.
    """

    @property
    def facts(self) -> BackboneFacts:
        """The backbone's facts; constant over its life."""
        ...

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """Enlarge ``image`` (H, W, 3 float32 in [0, 1]); the same arguments give the same bytes on the same hardware.

        The result is float32 in [0, 1]; its size is the input's times ``facts.scale`` (``lowres``) or the input's (``upscaled``).
        """
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What a backbone of several parts chose for one picture, and why.

    shares    (part's name, mean share of the pixels in [0, 1]), the first part first; parts that made nothing have 0
    evidence  photo pixels per pixel along one axis, mean over the picture: 1 is all real, 0.25 one pixel in four
    why       one line for the record
    weights   weight files of the parts that made something
    """

    shares: tuple[tuple[str, float], ...]
    evidence: float
    why: str
    weights: tuple[Weights, ...] = field(default=(), repr=False)


@runtime_checkable
class ChoosingBackbone(Protocol):
    """A backbone whose output also depends on how much of its input is real, and that can say what it chose."""

    def given(self, evidence: float) -> Backbone:
        """The same backbone for inputs that hold at most ``evidence`` photo pixels per pixel along one axis; 1 when nobody says."""
        ...

    def choice(self, image: Image, prompt: str = "", *, seed: int = 0) -> Choice:
        """What ``upscale`` does with this input: a pure function of what is given, cheap beside it. ``seed``: see LendingBackbone."""
        ...


def informed(backbone: Backbone, evidence: float) -> Backbone:
    """The backbone, told how much of its input is real if it wants to know."""
    return backbone.given(evidence) if isinstance(backbone, ChoosingBackbone) else backbone


@runtime_checkable
class LendingBackbone(Protocol):
    """A backbone that borrows detail from pictures of its own, and can say from which."""

    def lender(self, prompt: str, seed: int, scale: float) -> str:
        """A few words on the picture that is borrowed from for a prompt, at ``scale`` pixels made for a photo pixel; empty for none.

        ``seed`` is that of the noise: of the whole zoom where noise goes by place.
        """
        ...


@runtime_checkable
class BatchBackbone(Protocol):
    """A backbone that also takes many pictures of one size at once."""

    def upscale_batch(self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """As ``upscale`` for each picture; rounding may differ from one-by-one calls in the last bits."""
        ...


@runtime_checkable
class TruncatingBackbone(Protocol):
    """A backbone whose text encoders see only so many tokens."""

    def truncation(self, prompt: str) -> dict[str, int]:
        """Tokens of the prompt that each text encoder cannot see; zeros when all is used."""
        ...
