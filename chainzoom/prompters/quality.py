"""Whether a model's answer is fit to steer a step, and making it so: pure functions on text.

Known failures (paper section 3.3): loops such as "fur texture orange fur texture orange", and talk about the pictures instead of what
they show ("the first image shows ...").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MAX_CHARS = 4000
"""Longer answers are cut here before anything else looks at them."""

MAX_REPETITION = 0.2
"""Share of repeated word triples above which an answer is a loop."""

VIEWPOINT_PHRASES = re.compile(
    r"\b(?:first|second|1st|2nd|both|two|previous|original|other)\s+(?:image|picture|photo)s?\b"
    r"|\b(?:image|picture)\s+(?:1|2|one|two)\b"
    r"|\bzoom(?:ed|s|ing)?[- ]in\b"
    r"|\b(?:image|picture|photo)s?\s+(?:shows?|depicts?|contains?|features?|displays?)\b",
    re.IGNORECASE,
)
"""Words about the pictures rather than about what is in them."""

_REFUSAL = re.compile(r"^(?:i['’]?m sorry|sorry|i (?:can(?:no|['’])t|am unable|am not able)|as an ai)\b", re.IGNORECASE)
_TOKENS = re.compile(
    r"<think>.*?(?:</think>|$)|<\|[^|<>]*\|>|^\s*#{1,6}\s+|(?<!\w)[*`_]{1,3}(?=\S)|(?<=\S)[*`_]{1,3}(?!\w)",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_LEAD_IN = re.compile(
    r"^(?:(?:sure|certainly|okay|of course)[,.!]*\s+)?"
    r"(?:(?:here (?:is|are)|here['’]s|the following (?:is|are))\b[^:\n]{0,80}:\s*"
    r"|(?:the|this) (?:image|picture|photo) (?:shows|depicts|contains|features|displays)[:\s]\s*)?",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-•–+*]|\(?\d{1,3}[.)])\s+")
_INLINE_NUMBER = re.compile(r"[,;]?\s+\(?\d{1,2}[.)]\s+")
_PERIODIC = re.compile(r"(\S.{0,15}?)\1{7,}")
_SIGNS = re.compile(r"\w+|[^\w\s]")


def repetition(text: str, n: int = 3) -> float:
    """Share of repeated n-grams of lower-case, whitespace-separated words: 0 (none) up to nearly 1; 0 for fewer than n words."""
    words = text.lower().split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def tidy(text: str) -> str:
    """One line: special tokens, markup and lead-ins ("Here is a set of words:") gone, lines and numbering turned into a comma list."""
    text = _TOKENS.sub("", unicodedata.normalize("NFC", text[:MAX_CHARS])).strip().rstrip("\ufffd")
    text = _LEAD_IN.sub("", text, count=1)
    lines = [_BULLET.sub("", line).strip().strip("\"'“”").rstrip(",;.") for line in text.splitlines()]
    joined = ", ".join(line for line in lines if line)
    joined = _INLINE_NUMBER.sub(", ", f" {joined}").removeprefix(", ")
    return " ".join(joined.split()).strip(" ,;:")


def fault(text: str) -> str:
    """Why tidied text must not be used: ``empty``, ``no words``, ``viewpoint phrase``, ``refusal`` or ``repetition``; "" when it is fit."""
    if not text.strip():
        return "empty"
    text = text[:MAX_CHARS]
    visible = [c for c in text if not c.isspace()]
    if "\ufffd" in text or sum(c.isalpha() for c in visible) < 0.5 * len(visible):
        return "no words"
    if VIEWPOINT_PHRASES.search(text):
        return "viewpoint phrase"
    if _REFUSAL.search(text):
        return "refusal"
    return "repetition" if _loops(text) else ""


def _loops(text: str) -> bool:
    words = [word.strip(",.;:!") for word in text.lower().split()]
    same = any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
    items = _items(text.lower())
    doubled = len(items) >= 4 and len(set(items)) * 2 <= len(items)
    return same or doubled or repetition(" ".join(words)) > MAX_REPETITION or _PERIODIC.search(text) is not None


def _items(text: str) -> list[str]:
    return [item.strip(" .;") for item in text.split(",") if item.strip(" .;")]


def deduplicated(text: str) -> str:
    """A comma list with each item once, in the order of first mention; upper and lower case count as equal."""
    return ", ".join(
        {item.casefold(): item for item in reversed(_items(text))}[key] for key in dict.fromkeys(map(str.casefold, _items(text)))
    )


def without_last(text: str) -> str:
    """A comma list without its last item, for answers that were stopped in the middle of one; other text stays as it is."""
    head, comma, _ = text.rpartition(",")
    return head.strip() if comma else text


def signs(text: str) -> int:
    """Words and punctuation marks: about the tokens a CLIP text encoder needs for plain words (rare words take more)."""
    return len(_SIGNS.findall(text))


def capped(text: str, limit: int, count: Callable[[str], int] = signs) -> tuple[str, str]:
    """Drop items, then words, from the end until ``count(text) <= limit``; the shortened text and a note for the record, "" when it fits.

    ``count`` may be a text encoder's tokeniser.
    """
    text = text[:MAX_CHARS]
    before = count(text)
    if before <= limit:
        return text, ""
    items = text.split(",")
    while len(items) > 1 and count(",".join(items)) > limit:
        items.pop()
    words = ",".join(items).split(" ")
    while words and count(" ".join(words)) > limit:
        words.pop()
    short = " ".join(words).rstrip(" ,;:")
    return short, f"cut from {before} to {count(short)} tokens (limit {limit})"
