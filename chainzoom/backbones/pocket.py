"""The pocket backbone: a small generator of our own that invents what the words say where pixels no longer tell (docs/pocket.md).

Noise belongs to places: a window of a larger picture gets the noise of its coordinates, and the network is convolutional, so windows
agree where they overlap. The result shrinks back to its input by construction: the
projection of ``correctors.consistency`` is its last layer.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from chainzoom.backbones import pocket_network, runtimes
from chainzoom.backbones.base import BackboneFacts
from chainzoom.backbones.continuation import continued
from chainzoom.backbones.edges import crisp
from chainzoom.backbones.exemplars import Exemplars, Sight
from chainzoom.backbones.noise import NoiseField
from chainzoom.backbones.pocket_network import FIELD_GAIN, Array, Network, Shape
from chainzoom.backbones.roughness import lightness, roughness, vividness
from chainzoom.correctors.consistency import project
from chainzoom.errors import OptionError
from chainzoom.images import Image, clip, resize
from chainzoom.sentences import SentenceEncoder
from chainzoom.sentences.plain import names_a_surface, surface_words, user_first
from chainzoom.version import __version__
from chainzoom.weights import Weights, sha256_of

SCALE = 4
FILE = Path(__file__).with_name("pocket.safetensors")
EXEMPLARS = Path(__file__).with_name("exemplars.zip")
LICENCE = "CC-BY-SA-4.0"
TILE = 160
"""Input pixels of a tile that are kept; around them lies what the network sees."""

UNNAMED = 0.75
"""What is left of the creativity when the words name no surface, only colours and measures: a sky is to stay one."""
_UNPLACED = 256.0
FIRST, CONTINUED = 0.2, 1.15
"""Of the creativity while no surface is lent, since grain that is put into a smooth place is taken for roughness afterwards; and how
strongly the picture's own texture goes on instead.
"""
OWN, LAID = 0.36, 0.15
"""How strongly it goes on while the surface lent is too small to be recognised; and where that one is laid or woven, and has an order."""
MARGIN = 8
"""Input pixels that are mirrored around a picture."""


class Pocket:
    """4x, text-aware, stochastic.

    creativity  0: only what the input makes likely, smooth where it says nothing; 1: detail as the words have it
    threads     CPU threads (default: the cores this process may use)
    precision   ``bf16`` or ``f32``; default: bf16 where the CPU multiplies it natively
    weights     a file from ``chainzoom train pocket`` instead of the package's own
    exemplars   a shelf of surfaces instead of the package's own

    Nothing is read before the first use. Raises OptionError, WeightsError, BackendError.
    """

    def __init__(
        self,
        *,
        creativity: float = 1.0,
        threads: int | None = None,
        precision: str | None = None,
        weights: str | None = None,
        exemplars: str | None = None,
    ) -> None:
        if not 0 <= creativity <= 1:
            raise OptionError(f"creativity takes a number from 0 (faithful) to 1 (inventive); got {creativity:g}")
        if threads is not None and threads < 1:
            raise OptionError(f"expected at least 1 thread, got {threads}")
        if precision not in (None, "bf16", "f32"):
            raise OptionError(f"precision is bf16 or f32; got {precision!r}")
        self.creativity, self.threads = float(creativity), threads or runtimes.usable_cores()
        self.precision = precision or ("bf16" if runtimes.has_bf16() else "f32")
        self._file = Path(weights) if weights else FILE
        self._exemplars = Path(exemplars) if exemplars else EXEMPLARS
        self._words = SentenceEncoder()
        self._lock = Lock()

    @cached_property
    def facts(self) -> BackboneFacts:
        """Scale 4, any size; its own weights, the exemplars and those of the sentence encoder; WeightsError when one is missing."""
        own, shelf = (
            Weights(name, __version__ if file in (FILE, EXEMPLARS) else "local file", sha256_of(file), LICENCE)
            for name, file in (("chainzoom pocket", self._file), ("chainzoom exemplars", self._exemplars))
        )
        return BackboneFacts(
            name="pocket",
            scale=SCALE,
            uses_prompt=True,
            stochastic=True,
            generative=True,
            runtime=f"openvino-{self.precision}",
            weights=(own, shelf, self._words.weights),
        )

    @cached_property
    def _read(self) -> tuple[Shape, dict[str, Array]]:
        return pocket_network.read(self._file)

    @cached_property
    def _shelf(self) -> Exemplars:
        return Exemplars.read(self._exemplars)

    @cached_property
    def _network(self) -> Network:
        return pocket_network.load(*self._read, self.precision, self.threads)

    def check(self) -> None:
        """Read and compile everything now. Raises what the first use would."""
        with self._lock:
            _ = self._network, self._shelf, self._words.encode("")

    def truncation(self, prompt: str) -> dict[str, int]:
        """Tokens of the prompt that the sentence encoder cannot see."""
        return {"sentence encoder": self._words.truncation(prompt)}

    def lender(self, prompt: str, seed: int, scale: float) -> str:
        """See LendingBackbone."""
        if Sight.at(scale).generation < 0:
            return ""
        with self._lock:
            number = self._lender(prompt, seed, scale)
        return f"{self._shelf.captions[number]} ({self._shelf.names[number]})"

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """(H, W, 3) to (4H, 4W, 3), float32 in [0, 1]. Nothing is known of the zoom: surfaces come at their own size."""
        return self.upscale_at(image, prompt, noise=NoiseField(seed, _UNPLACED), origin=(0, 0))

    def upscale_at(self, image: Image, prompt: str, *, noise: NoiseField, origin: tuple[int, int]) -> Image:
        """As ``upscale``; the noise is that of the picture's place (x, y) on its level, in pixels of ``image``."""
        with self._lock:
            embedding = self._words.encode(prompt)
            creativity = self.creativity * (1.0 if names_a_surface(prompt) else UNNAMED)
            creativity *= FIRST if Sight.at(noise.scale).generation < 0 else 1.0
            number = self._lender(prompt, noise.seed, noise.scale)
            raw = self._raw(image, self._code(embedding, creativity), number, noise, origin)
        # Only the band of ``raw`` that the input cannot hold means anything, so it is not clipped before.
        made = clip(project(raw, image))
        if Sight.at(noise.scale).generation < 0:
            made = crisp(made, image)
        amount = self.creativity * _own_texture(noise.scale, self._shelf.ordered[number])
        return project(continued(made, image, noise, origin, amount), image) if amount else made

    def _lender(self, prompt: str, seed: int, scale: float) -> int:
        """The exemplar for a prompt. Only words for surfaces count, so that it stays the same when colours and measures change; the first
        alone where they are near something on the shelf, though no name of it: rust is metal, whatever is named after it.
        """
        prompt = user_first(prompt)
        first = surface_words(prompt.partition(",")[0])
        if first and self._shelf.recalls(first, self._words.encode(first)):
            prompt = first
        said = surface_words(prompt)
        return self._shelf.nearest(self._words.encode(said or prompt), prompt, seed, max(0, Sight.at(scale).generation))

    def _code(self, embedding: Array, creativity: float = 1.0) -> Array:
        """What the network reads of a prompt: the embedding, centred as in training, and the creativity."""
        shape, tensors = self._read
        embedding = embedding - tensors["centre"]
        embedding *= np.sqrt(np.float32(shape.words)) / max(float(np.linalg.norm(embedding)), 1e-6)
        return np.append(embedding, np.float32(creativity))[None].astype(np.float32)

    def _raw(self, image: Image, words: Array, number: int, noise: NoiseField, origin: tuple[int, int]) -> Image:
        """The network's output, made in tiles that see as far as the network does, so that tiling changes nothing but rounding."""
        reach = self._read[0].reach
        height, width = image.shape[:2]
        # Mirrored edges, because the network's own padding is black and draws a frame.
        wide = np.pad(image, [(MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)], mode="reflect" if min(height, width) > 1 else "edge")
        gain = self._shelf.stronger(number, noise.scale, roughness(wide), lightness(wide), vividness(wide))
        gain = resize(gain, (SCALE * gain.shape[1], SCALE * gain.shape[0]))
        out = np.empty((height * SCALE, width * SCALE, 3), np.float32)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                y0, x0 = max(-MARGIN, top - reach), max(-MARGIN, left - reach)
                bottom, right = min(height, top + TILE), min(width, left + TILE)
                y1, x1 = min(height + MARGIN, bottom + reach), min(width + MARGIN, right + reach)
                box = origin[0] + x0, origin[1] + y0, origin[0] + x1, origin[1] + y1
                around = (y0 + MARGIN, y1 + MARGIN), (x0 + MARGIN, x1 + MARGIN)
                stronger = gain[tuple(slice(SCALE * start, SCALE * end) for start, end in around)]
                planes = self._planes(noise, number, words, box, stronger)
                part = wide[tuple(slice(*ends) for ends in around)]
                part = np.ascontiguousarray(part.transpose(2, 0, 1)[None], np.float32)
                made = self._network([part, words, *planes])[0].transpose(1, 2, 0)
                rows, columns = slice((top - y0) * SCALE, (bottom - y0) * SCALE), slice((left - x0) * SCALE, (right - x0) * SCALE)
                out[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = made[rows, columns]
        return out

    def _planes(self, noise: NoiseField, number: int, words: Array, box: tuple[int, int, int, int], stronger: Array) -> list[Array]:
        """Field, so many times ``stronger``, and noise at 1x, 2x and 4x for a box of input pixels; each input pixel holds the draws of all
        finer pixels in it.
        """
        planes = self._read[0].noise
        parts = [count << (2 * level) for level, count in enumerate(planes)]
        drawn = noise.read(*box, sum(parts))
        x0, y0, x1, y1 = (SCALE * value for value in box)
        field = self._shelf.seen(number, noise.seed, (x0, y0, x1, y1), noise.scale) * np.float32(FIELD_GAIN)
        field *= stronger
        found, start = [], 0
        for level, (count, part) in enumerate(zip(planes, parts, strict=True)):
            height, width = drawn.shape[0] << level, drawn.shape[1] << level
            cells = drawn[..., start : start + part].reshape(*drawn.shape[:2], 1 << level, 1 << level, count)
            fine = cells.transpose(4, 0, 2, 1, 3).reshape(count, height, width)
            side = SCALE >> level
            folded = field.reshape(height, side, width, side).transpose(1, 3, 0, 2).reshape(side * side, height, width)
            found.append(np.ascontiguousarray(np.concatenate([folded, fine])[None] * words[0, -1]))
            start += part
        return found


def _own_texture(scale: float, ordered: bool) -> float:
    """How strongly the input's texture is continued at ``scale``: most where no surface is lent yet, not where one can be recognised."""
    sight = Sight.at(scale)
    if sight.generation < 0:
        return CONTINUED
    return (LAID if ordered else OWN) if sight.small else 0.0
