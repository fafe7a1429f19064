"""Lines of text for drawn pictures: a typeface that can draw them, and a width that they keep to."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from PIL import ImageFont

# Pillow's own typeface comes first, so that most strips look the same everywhere; it holds little more than ASCII.
# The others are tried, in order, for texts that it cannot draw.
_FACES = (
    "",
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of drawable text in one typeface and size (pixels)."""

    text: str
    face: str
    size: int

    @classmethod
    def of(cls, text: str, size: int) -> Line:
        """Choose the first typeface that has the most characters, and replace what it lacks."""
        text = unicodedata.normalize("NFC", " ".join(text.split()))
        face = max(_FACES, key=lambda face: sum(_has(face, character) for character in text))
        return cls(_simplified(text, face), face, size)

    @property
    def font(self) -> Any:
        """The Pillow font."""
        return _font(self.face, self.size)

    @property
    def width(self) -> float:
        """Width in pixels."""
        return float(self.font.getlength(self.text))

    def fitted(self, room: float) -> Line:
        """This line, ended with an ellipsis if it is wider than ``room`` pixels."""
        line, text = self, self.text
        while text and line.width > room:
            text = text[:-1]
            line = replace(self, text=text.rstrip(" ,;:") + "…")
        return line


def wrapped(text: str, size: int, room: float, lines: int) -> list[str]:
    """Break into at most ``lines`` lines of ``room`` pixels at spaces; the last one is ended with an ellipsis if more follows."""
    whole = Line.of(text, size)
    words = whole.text.split()
    out: list[str] = []
    while words and len(out) < lines - 1:
        count = len(words)
        while count > 1 and replace(whole, text=" ".join(words[:count])).width > room:
            count -= 1
        out.append(replace(whole, text=" ".join(words[:count])).fitted(room).text)
        words = words[count:]
    if words:
        out.append(replace(whole, text=" ".join(words)).fitted(room).text)
    return out


def _simplified(text: str, face: str) -> str:
    """Characters that the typeface lacks become their base letter where there is one, else one ``?`` for a run of them."""
    out: list[str] = []
    for character in text:
        base = unicodedata.normalize("NFKD", character)[:1]
        choice = next((c for c in (character, base) if _has(face, c)), "?")
        if choice == character or choice != "?" or out[-1:] != ["?"]:
            out.append(choice)
    return "".join(out)


@cache
def _font(face: str, size: int) -> Any:
    return ImageFont.truetype(face, size) if face else ImageFont.load_default(size)


@cache
def _has(face: str, character: str) -> bool:
    """Whether the typeface is here and draws the character as something else than its sign for missing ones."""
    if not character.isprintable():
        return False
    try:
        font = _font(face, 24)
    except OSError:
        return False
    mask, missing = (bytes(font.getmask(c)) for c in (character, "\U0010fffd"))
    return character == " " or (bool(mask) and mask != missing)
