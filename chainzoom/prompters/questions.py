"""What vision-language models are asked, word for word as in the official code, and in whose name; training asks the same.

The question stands in the system turn; the user turn holds nothing but the images, previous state first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ONE_IMAGE = "What is in this image? Give me a set of words."
"""For a crop alone (mode ``recursive``)."""

TWO_IMAGES = (
    "The second image is a zoom-in of the first image. Based on this knowledge, what is in the second image? Give me a set of words."
)
"""For the previous state and the crop that is zoomed into (mode ``multiscale``)."""

_CRITIC = (
    "The second image is a zoom-in of the first image. Please rate the quality of the following description on how well it describes "
    "the second image. Output only a single score between 0 and 100. Description: {description} Rating (0-100):"
)


def prompt_question(images: int) -> str:
    """The question that asks for words about one or two images."""
    return TWO_IMAGES if images == 2 else ONE_IMAGE


def critic_question(description: str) -> str:
    """The question that asks a critic to rate a description of the second of two images from 0 to 100 (paper section 3.3)."""
    return _CRITIC.format(description=description.strip())


def turns(question: str, images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A chat: ``question`` from the system, then ``images`` (content parts in the form that the model or server wants) from the user."""
    return [{"role": "system", "content": question}, {"role": "user", "content": [dict(image) for image in images]}]
