"""Words that name no surface: colours and what can be measured of any picture, which ``tags`` says beside what it recognises."""

from __future__ import annotations

_COLOURS = "beige black blue blue-grey brown gray green grey lilac olive orange pink purple red tan teal white yellow"
_MEASURES = "blurred box bright contrast dark diagonal fine-grained high horizontal light low rough sharp smooth soft stripes vertical"
_FILLERS = "a background of photo picture the"
PLAIN = frozenset(f"{_COLOURS} {_MEASURES} {_FILLERS}".split())


_PARTS = 2
"""How many of the parts between commas say what it is; what follows differs from step to step."""


def user_first(prompt: str) -> str:
    """The prompt as it counts: what a closing comma marks as the user's words (chain.with_user_words, protocol ``paper``) comes first."""
    parts = [part.strip() for part in prompt.split(",")]
    if len(parts) < 3 or parts[-1]:
        return prompt
    return ", ".join([parts[-2], *parts[:-2]])


def surface_words(prompt: str) -> str:
    """What a prompt says beyond colours and measures, in the first two parts that say anything; empty where none does.

    The second comes first, as in English: "fur, tan, cat" is cat fur.
    """
    parts = (" ".join(word for word in part.split() if word.lower() not in PLAIN) for part in prompt.split(","))
    return " ".join(list(dict.fromkeys(part for part in parts if part))[:_PARTS][::-1])


def names_a_surface(prompt: str) -> bool:
    """Whether a prompt holds any word beyond colours and measures."""
    return any(word not in PLAIN for word in prompt.lower().replace(",", " ").split())
