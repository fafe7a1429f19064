from __future__ import annotations

from chainzoom.prompters import questions


def test_the_official_wording():
    assert questions.prompt_question(1) == "What is in this image? Give me a set of words."
    assert questions.prompt_question(2) == (
        "The second image is a zoom-in of the first image. Based on this knowledge, what is in the second image? Give me a set of words."
    )


def test_the_question_is_the_systems_and_the_user_only_shows_images():
    chat = questions.turns("Q?", [{"type": "image", "n": 1}, {"type": "image", "n": 2}])
    assert chat == [
        {"role": "system", "content": "Q?"},
        {"role": "user", "content": [{"type": "image", "n": 1}, {"type": "image", "n": 2}]},
    ]


def test_the_critic_is_given_the_description_braces_and_all():
    asked = questions.critic_question("  fur, {grass} ")
    assert asked.startswith("The second image is a zoom-in of the first image. Please rate the quality")
    assert asked.endswith("Output only a single score between 0 and 100. Description: fur, {grass} Rating (0-100):")
