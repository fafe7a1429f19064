"""Token ids are those of the reference tokenizer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from chainzoom.sentences import wordpiece
from chainzoom.sentences.wordpiece import END, LIMIT, START, UNKNOWN, tokenize

CASES = json.loads((Path(__file__).parents[1] / "golden" / "sentences" / "tokens.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"])[:30])
def test_ids_are_those_of_the_reference(case: dict[str, object]) -> None:
    tokens = tokenize(str(case["text"]), 10_000)
    assert list(tokens.ids) == case["ids"]
    assert tokens.cut == 0


def test_vocabulary_is_that_of_bert_base_uncased() -> None:
    lines = "".join(f"{token}\n" for token in wordpiece.vocabulary())
    assert hashlib.sha256(lines.encode()).hexdigest() == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert [wordpiece.vocabulary()[token] for token in ("[UNK]", "[CLS]", "[SEP]")] == [UNKNOWN, START, END]


@pytest.mark.parametrize(("count", "cut"), [(0, 0), (LIMIT - 2, 0), (LIMIT - 1, 1), (1000, 1000 - LIMIT + 2)])
def test_the_end_of_a_long_text_is_cut_and_counted(count: int, cut: int) -> None:
    tokens = tokenize("stone " * count)
    assert tokens.cut == cut
    assert len(tokens.ids) == count + 2 - cut
    assert (tokens.ids[0], tokens.ids[-1]) == (START, END)
    assert set(tokens.ids[1:-1]) <= {wordpiece.vocabulary()["stone"]}


def test_lone_surrogates_are_dropped() -> None:
    assert tokenize("gr\ud800ass").ids == tokenize("grass").ids
