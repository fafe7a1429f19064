"""Two backbones as one: the first enlarges what the pixels hold, the second invents where they hold nothing any more.

Chain-of-Zoom (arXiv 2505.18600, section 6) leaves open when a chain should recurse and with what. Here each place of an input is asked how
much of it is real (``evidence.py``, and how deep the zoom is), and the answer decides which part makes it. A part that makes nothing of a
picture is not run.

The evidence part's picture is first made to shrink back to the input, so that both parts agree in what the input says and differ only in
what is finer; and where the photo is rough its texture is gone on with (``continuation.py``), which such networks leave flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np

from chainzoom.backbones.base import Backbone, BackboneFacts, BatchBackbone, Choice, LendingBackbone, TruncatingBackbone
from chainzoom.backbones.continuation import Texture, continued
from chainzoom.backbones.evidence import sharpness
from chainzoom.backbones.noise import FieldBackbone, NoiseField
from chainzoom.backbones.pooling import Plane
from chainzoom.correctors.consistency import project
from chainzoom.errors import OptionError
from chainzoom.images import Image, clip, resize
from chainzoom.seeds import derive

Run = Callable[[Backbone, Sequence[int]], list[Image]]
"""Makes the pictures of these numbers with a part."""
Spot = tuple[NoiseField, tuple[int, int]]
"""The noise of a picture's level, and where the picture lies on it."""

FULL, NONE = 0.5, 0.34
KEPT = ("text", "letters", "lettering", "writing", "menu", "book jacket", "crossword puzzle", "web site", "street sign")
"""What people read: an invention would be taken for a fact."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When which part makes a place. Evidence is in photo pixels per input pixel along one axis.

    full     from here on the evidence part alone
    none     up to here the invention part alone; in between they are mixed
    keep     a prompt with one of these between its commas leaves the whole picture to the evidence part, however deep
    texture  how strongly the photo's own texture is continued in what the evidence part makes: 0 not at all, 1 as rough as the photo is;
             never where a word of ``keep`` is said
    """

    full: float = FULL
    none: float = NONE
    keep: tuple[str, ...] = KEPT
    texture: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.texture <= 1:
            raise OptionError(f"adaptive: texture takes a number from 0 (none) to 1 (as rough as the photo); got {self.texture:g}")
        if not 0 < self.none < self.full <= 1:
            raise OptionError(f"adaptive: expected 0 < none < full <= 1, got none = {self.none:g} and full = {self.full:g}")

    def kept(self, prompt: str) -> str:
        """The word of the prompt that rules invention out, or an empty string."""
        said = {part.strip().lower() for part in prompt.split(",")}
        return next((word for word in self.keep if word.lower() in said), "")

    def share(self, evidence: Plane) -> Plane:
        """The evidence part's share of every place, even in octaves between ``none`` and ``full``; less than 0.0001 is nothing."""
        share = np.log(evidence / self.none) / math.log(self.full / self.none)
        return np.asarray(np.clip(np.round(share, 4), 0, 1), dtype=np.float32)


@dataclass(frozen=True)
class Adaptive:
    """An evidence part and an invention part under a policy; ``adaptive`` makes the kind that fits its parts.

    limit  photo pixels per input pixel along one axis, as far as the depth of the zoom says; ``given`` sets it

    Raises OptionError for parts that do not go together.
    """

    evidence: Backbone
    invention: Backbone
    policy: Policy = field(default_factory=Policy)
    limit: float = 1.0

    def __post_init__(self) -> None:
        one, other = self.parts
        if one.facts.scale != other.facts.scale or {one.facts.input, other.facts.input} != {"lowres"}:
            told = " and ".join(f"{part.facts.name}: {part.facts.scale}x, {part.facts.input}" for part in self.parts)
            raise OptionError(f"adaptive takes two parts of one scale with lowres input; got {told}")
        if one.facts.name == other.facts.name:
            raise OptionError(f"adaptive takes two different parts; got {one.facts.name} twice")

    @property
    def parts(self) -> tuple[Backbone, Backbone]:
        """Evidence, invention."""
        return self.evidence, self.invention

    @cached_property
    def facts(self) -> BackboneFacts:
        """What holds for either part; both parts' weights."""
        known = [part.facts for part in self.parts]
        return BackboneFacts(
            "adaptive",
            known[0].scale,
            math.lcm(*(facts.multiple for facts in known)),
            max(facts.min_size for facts in known),
            uses_prompt=bool(self.policy.keep) or any(facts.uses_prompt for facts in known),
            stochastic=self.policy.texture > 0 or any(facts.stochastic for facts in known),
            weights=tuple(dict.fromkeys(weights for facts in known for weights in facts.weights)),
            generative=any(facts.generative for facts in known),
            runtime=", ".join(dict.fromkeys(facts.runtime for facts in known if facts.runtime)),
        )

    def check(self) -> None:
        """What the parts check."""
        for part in self.parts:
            if (check := getattr(part, "check", None)) is not None:
                check()

    def truncation(self, prompt: str) -> dict[str, int]:
        """What the parts' text encoders cannot see."""
        return {key: n for part in self.parts if isinstance(part, TruncatingBackbone) for key, n in part.truncation(prompt).items()}

    def given(self, evidence: float) -> Adaptive:
        """See ChoosingBackbone."""
        return replace(self, limit=min(1.0, evidence))

    def choice(self, image: Image, prompt: str = "", *, seed: int = 0) -> Choice:
        """See ChoosingBackbone."""
        sharp = sharpness(image)
        share = self._share(image, prompt, sharp)
        mean = float(share.mean())
        shares = tuple(zip((part.facts.name for part in self.parts), (mean, 1 - mean), strict=True))
        used = [part for part, some in zip(self.parts, (share.any(), (share < 1).any()), strict=True) if some]
        found = float(np.minimum(sharp, self.limit).mean())
        why = f"{found:.2f} real pixels per pixel along an axis ({self.limit:.3g} by depth, {float(sharp.mean()):.2f} by sharpness)"
        if word := self.policy.kept(prompt):
            why += f'; "{word}" is not invented'
        elif share.any() and (rough := self.policy.texture and Texture.of(image).share) > 0.005:
            why += f"; the photo's own texture continued over {rough:.0%} of it"
        if self.invention in used and isinstance(self.invention, LendingBackbone):
            lender = self.invention.lender(prompt, seed, self.facts.scale / self.limit)
            why += f"; surface lent by {lender}" if lender else ""
        return Choice(shares, found, why, tuple(dict.fromkeys(weights for part in used for weights in part.facts.weights)))

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """(h, w, 3) to (h * scale, w * scale, 3) in [0, 1]; a part without a share is not run."""

        def run(part: Backbone, numbers: Sequence[int]) -> list[Image]:
            return [part.upscale(image, prompt, seed=seed) for _ in numbers]

        return self._mixed([image], [prompt], run, [self._nowhere(seed)])[0]

    def _share(self, image: Image, prompt: str, sharp: Plane | None = None) -> Plane:
        """(h, w): the evidence part's share."""
        if self.policy.kept(prompt):
            return np.ones(image.shape[:2], np.float32)
        if self.limit <= self.policy.none:
            return np.zeros(image.shape[:2], np.float32)
        return self.policy.share(np.minimum(sharpness(image) if sharp is None else sharp, np.float32(self.limit)))

    def _nowhere(self, seed: int) -> Spot:
        """Of a picture whose place is not known."""
        return NoiseField(seed, self.facts.scale / self.limit), (0, 0)

    def _mixed(self, images: Sequence[Image], prompts: Sequence[str], run: Run, spots: Sequence[Spot]) -> list[Image]:
        """The pictures as the parts make them; each part is run on those in which it has a share."""
        shares = [self._share(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        wanted = [[n for n, share in enumerate(shares) if share.any()], [n for n, share in enumerate(shares) if (share < 1).any()]]
        one, other = (dict(zip(numbers, run(part, numbers), strict=True)) for part, numbers in zip(self.parts, wanted, strict=True))
        one = {n: self._sure(made, images[n], prompts[n], spots[n]) for n, made in one.items()}
        return [_mix(one.get(n), other.get(n), share) for n, share in enumerate(shares)]

    def _sure(self, made: Image, image: Image, prompt: str, spot: Spot) -> Image:
        """What the evidence part made, in step with ``image`` and as rough."""
        made = project(made, image)
        if self.policy.texture and not self.policy.kept(prompt):
            made = project(continued(made, image, *spot, self.policy.texture), image)
        return made


class _Batch(Adaptive):
    """One of the parts takes batches."""

    def upscale_batch(self, images: Sequence[Image], prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        """See BatchBackbone."""

        def run(part: Backbone, numbers: Sequence[int]) -> list[Image]:
            if len(numbers) > 1 and isinstance(part, BatchBackbone):
                return part.upscale_batch([images[n] for n in numbers], [prompts[n] for n in numbers], [seeds[n] for n in numbers])
            return [part.upscale(images[n], prompts[n], seed=seeds[n]) for n in numbers]

        return self._mixed(images, prompts, run, [self._nowhere(seed) for seed in seeds])


class _Field(Adaptive):
    """One of the parts takes its noise from a field."""

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        """See FieldBackbone; a part that knows no fields gets a seed for the place."""

        def run(part: Backbone, numbers: Sequence[int]) -> list[Image]:
            if isinstance(part, FieldBackbone):
                return [part.upscale_at(image, prompt, noise=noise, origin=origin) for _ in numbers]
            return [part.upscale(image, prompt, seed=derive(noise.seed, *origin)) for _ in numbers]

        return self._mixed([image], [prompt], run, [(noise, origin)])[0]


class _FieldBatch(_Field, _Batch):
    """Both."""


def adaptive(evidence: Backbone, invention: Backbone, policy: Policy | None = None) -> Adaptive:
    """The two as one backbone, which takes batches and noise by place when a part does."""
    parts = (evidence, invention)
    kind = (any(isinstance(part, FieldBackbone) for part in parts), any(isinstance(part, BatchBackbone) for part in parts))
    made = {(False, False): Adaptive, (False, True): _Batch, (True, False): _Field, (True, True): _FieldBatch}[kind]
    return made(evidence, invention, policy or Policy())


def _mix(one: Image | None, other: Image | None, share: Plane) -> Image:
    """``one`` where its share is 1 and ``other`` where it is 0, at least one of which is there."""
    if one is None or other is None:
        return cast(Image, other if one is None else one)
    wide = clip(resize(share, (one.shape[1], one.shape[0]), "bicubic"))[..., None]
    return np.asarray(other + (one - other) * wide, dtype=np.float32)
