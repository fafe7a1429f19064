from __future__ import annotations

import time

import pytest

from chainzoom.prompters.quality import capped, deduplicated, fault, repetition, signs, tidy, without_last


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("two words", 0),
        ("one two three", 0),
        # 8 words, 6 triples, 3 of them different
        ("fur texture orange fur texture orange fur texture", 0.5),
        # case counts not; 6 words, 4 triples, 3 different
        ("A b c a B c", 0.25),
        ("x x x x x", 2 / 3),
    ],
)
def test_repetition_by_hand(text, share):
    assert repetition(text) == pytest.approx(share)


def test_repetition_of_other_lengths():
    # 5 words, 4 pairs, 2 different
    assert repetition("a b a b a", n=2) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fur, grass, sky", ""),
        ("A close-up of a cat's eye with orange fur", ""),
        ("a red car, a red bus, a red bike, a red door", ""),
        ("毛, 草, 天空", ""),
        ("picture frame, wall", ""),
        ("", "empty"),
        (" \n ", "empty"),
        ("12, 34, 56", "no words"),
        ("?!?!", "no words"),
        ("fur \ufffd grass", "no words"),
        ("the second image shows a cat", "viewpoint phrase"),
        ("Both images show fur", "viewpoint phrase"),
        ("a zoomed-in eye", "viewpoint phrase"),
        ("Image 2: fur", "viewpoint phrase"),
        ("I'm sorry, I can't see", "refusal"),
        ("fur texture orange fur texture orange fur texture", "repetition"),
        ("stripes, stripes, stripes", "repetition"),
        ("fur, grass, fur, grass, fur, grass", "repetition"),
        ("aaaaaaaaaaaa", "repetition"),
        ("furfurfurfurfurfurfurfur", "repetition"),
    ],
)
def test_faults(text, reason):
    assert fault(text) == reason


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  fur,  grass \n", "fur, grass"),
        ("Here is a set of words:\n1. Fur\n2. Grass\n3. Sky", "Fur, Grass, Sky"),
        ("Sure! Here are some words that describe it: fur, grass.", "fur, grass"),
        ("- red\n- blue\n", "red, blue"),
        ("1. fur 2. grass 3. sky", "fur, grass, sky"),
        ("**Fur**, _grass_, `sky`, snake_case", "Fur, grass, sky, snake_case"),
        ("# Words\nfur", "Words, fur"),
        ("The image shows a cat.", "a cat"),
        ("<think>let me see</think>fur<|im_end|>", "fur"),
        ("<think>never ends", ""),
        ('"fur, grass"', "fur, grass"),
        ("caf\u0065\u0301 \ufffd", "caf\u00e9"),
        ("a 3.5 inch disk", "a 3.5 inch disk"),
        ("", ""),
    ],
)
def test_tidying(raw, clean):
    assert tidy(raw) == clean
    assert tidy(clean) == clean


def test_doubled_and_unfinished_items():
    assert deduplicated("cat, Cat, dog, cat.") == "cat, dog"
    assert deduplicated("one sentence") == "one sentence"
    assert without_last("fur, grass, sk") == "fur, grass"
    assert without_last("fur") == "fur"


def test_capping_drops_items_then_words_and_says_so():
    assert signs("fur, cat's eye") == 6  # fur , cat ' s eye
    assert capped("fur, grass", 3) == ("fur, grass", "")
    assert capped("fur, grass, sky", 4) == ("fur, grass", "cut from 5 to 3 tokens (limit 4)")
    assert capped("a b c d", 2) == ("a b", "cut from 4 to 2 tokens (limit 2)")
    assert capped("fur, grass", 4, count=len) == ("fur", "cut from 10 to 3 tokens (limit 4)")


def test_hostile_text_takes_no_time():
    start = time.perf_counter()
    for text in ("a " * 50_000, "ab" * 50_000, "<think>" * 20_000, "1. " * 30_000, "*_" * 50_000, "fur, " * 20_000):
        fault(tidy(text))
        capped(deduplicated(tidy(text)), 75)
        capped(text, 75)
    assert time.perf_counter() - start < 10
