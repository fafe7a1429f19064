"""BERT's uncased tokenizer: text to the token ids that all-MiniLM-L6-v2 was trained on.

The steps are those of BERT (arXiv 1810.04805): clean, set CJK characters apart, strip accents, lower-case, split at white space and
punctuation, then WordPiece (Wu et al., arXiv 1609.08144, section 4.1), which takes the longest known piece from the left. The vocabulary is
that of bert-base-uncased, one token a line, the line number being the id.

Ids equal those of the reference tokenizer for every character but about 500, none of which is in the vocabulary: nearly all are younger
than Unicode 8, and the two know different classes (accent, punctuation) for them.
"""

from __future__ import annotations

import gzip
import string
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

UNKNOWN, START, END = 100, 101, 102
"""Ids of [UNK], [CLS] and [SEP]."""
LIMIT = 256
"""Tokens seen at most, [CLS] and [SEP] among them: ``max_seq_length`` of all-MiniLM-L6-v2."""
_LONGEST_WORD = 100
"""Characters; a longer word is unknown as a whole."""
_DROPPED = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Unicode categories of characters that are no text; unassigned ones (Cn) stay, and make their word unknown."""
_PREFIX = "##"
_PUNCTUATION = frozenset(string.punctuation)
_CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last code point of the blocks whose characters are words of their own; 0x2B920 is as the reference tokenizer has it."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a text, [CLS] first and [SEP] last; ``cut`` counts the tokens past the limit, which are not among them."""

    ids: tuple[int, ...]
    cut: int


def tokenize(text: str, limit: int = LIMIT) -> Tokens:
    """At most ``limit`` token ids (>= 2). Names of special tokens in the text, as "[SEP]", are plain text."""
    known = vocabulary()
    ids = [token for word in words(text) for token in pieces(word, known)]
    room = limit - 2
    return Tokens((START, *ids[:room], END), max(0, len(ids) - room))


@cache
def vocabulary() -> Mapping[str, int]:
    """Token to id, 30 522 entries, read from the package once."""
    packed = resources.files("chainzoom.sentences").joinpath("vocabulary.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[:-1]
    return MappingProxyType({token: number for number, token in enumerate(lines)})


def words(text: str) -> Iterator[str]:
    """Lower-case words without accents; each punctuation mark and each CJK character is a word."""
    for chunk in normalize(text).split(" "):
        start = 0
        for position, character in enumerate(chunk):
            if _is_punctuation(character):
                if position > start:
                    yield chunk[start:position]
                yield character
                start = position + 1
        if start < len(chunk):
            yield chunk[start:]


def normalize(text: str) -> str:
    """The text without control characters and accents, in lower case, with one kind of white space, CJK characters between spaces."""
    clean = "".join(_cleaned(character) for character in text)
    bare = "".join(character for character in unicodedata.normalize("NFD", clean) if unicodedata.category(character) != "Mn")
    # One character at a time: a Greek sigma at a word's end is lowered as any other.
    return "".join(character.lower() for character in bare)


def pieces(word: str, known: Mapping[str, int]) -> list[int]:
    """Ids of the longest known pieces from the left; [UNK] alone when some part of the word is not known."""
    if len(word) > _LONGEST_WORD:
        return [UNKNOWN]
    found: list[int] = []
    start = 0
    while start < len(word):
        prefix = _PREFIX if start else ""
        for end in range(len(word), start, -1):
            token = known.get(prefix + word[start:end])
            if token is not None:
                found.append(token)
                start = end
                break
        else:
            return [UNKNOWN]
    return found


def _cleaned(character: str) -> str:
    if character in "\t\n\r" or (character.isspace() and unicodedata.category(character)[0] == "Z"):
        return " "
    if character == "\ufffd" or unicodedata.category(character) in _DROPPED:
        return ""
    code = ord(character)
    return f" {character} " if any(first <= code <= last for first, last in _CJK) else character


def _is_punctuation(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] == "P"
