from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from chainzoom.provenance import ALGORITHMICALLY_ENHANCED, EDITED_WITH_GENERATIVE_AI, NAMESPACE, Provenance, sentence, text_chunks, xmp
from chainzoom.version import __version__
from chainzoom.weights import Weights

TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
OURS = f"{{{NAMESPACE}}}"
MADE = Provenance(
    source_sha256="ab" * 32,
    scale=16.0,
    synthesised=True,
    weights=(Weights("realesr-x4", "1.0.1", "cd" * 32, "BSD-3-Clause"),),
    region=(1.5, 2.0, 33.5, 34.0),
    prompt="tabby fur",
    seed=7,
    synthesised_from=4.0,
)
SEEN = Provenance("ab" * 32, 0.25, synthesised=False)


def parsed(p: Provenance) -> dict[str, str]:
    packet = xmp(p)
    body = packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")]
    return {e.tag: "".join(e.itertext()) for e in ElementTree.fromstring(body).iter()}


def test_synthesised_pictures_say_so() -> None:
    found = parsed(MADE)
    assert found[TYPE] == ALGORITHMICALLY_ENHANCED
    assert found[OURS + "synthesised"] == "true"
    assert found[OURS + "sourceSha256"] == "ab" * 32
    assert found[OURS + "scale"] == "16.0"
    assert found[OURS + "region"] == "1.5 2.0 33.5 34.0"
    assert found[OURS + "prompt"] == "tabby fur"
    assert found[OURS + "seed"] == "7"
    assert found[OURS + "weights"] == f"realesr-x4 1.0.1 sha256:{'cd' * 32} (BSD-3-Clause)"
    assert found["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == f"chainzoom {__version__}"


def test_generative_weights_have_their_own_term() -> None:
    assert parsed(replace(MADE, generative=True))[TYPE] == EDITED_WITH_GENERATIVE_AI


def test_real_pixels_claim_no_source_type() -> None:
    found = parsed(SEEN)
    assert TYPE not in found
    assert found[OURS + "synthesised"] == "false"
    assert "nothing was synthesised" in sentence(SEEN)


def test_packet_is_framed_as_xmp() -> None:
    assert xmp(MADE).startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert xmp(MADE).endswith('<?xpacket end="r"?>')


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ('a <b> & "c" ]]> \'', 'a <b> & "c" ]]> \''),
        ("né 猫 🐈", "né 猫 🐈"),
        ("bell\x07 null\x00 esc\x1b c1\x85\x9f", "bell null esc c1"),
        ("lone \ud800 end", "lone end"),
        ("non\ufffe char\U0001ffff", "non char"),
        ("two\r\nlines\tand  gaps ", "two lines and gaps"),
        ("<?xpacket end='w'?>", "<?xpacket end='w'?>"),
    ],
)
def test_any_prompt_survives(prompt: str, kept: str) -> None:
    p = replace(MADE, prompt=prompt)
    assert " ".join(parsed(p)[OURS + "prompt"].split()) == kept
    assert " ".join(text_chunks(p)["chainzoom:prompt"].split()) == kept


def test_texts() -> None:
    texts = text_chunks(MADE)
    assert texts["Software"] == f"chainzoom {__version__}"
    assert texts["Source"] == "sha256:" + "ab" * 32
    assert texts["Description"].startswith("Synthesised from 4x on; this picture shows 16x.")
    assert "realesr-x4" in texts["Description"]
    assert texts["chainzoom:seed"] == "7"
    assert "chainzoom:prompt" not in text_chunks(SEEN)


def test_interpolation_is_named() -> None:
    assert "made by interpolation" in sentence(replace(MADE, weights=()))
