"""What every written picture says of itself: seen or synthesised, from which photo, at which scale, by which weights.

The XMP packet follows ISO 16684-1 and the IPTC Photo Metadata Standard (property "Digital Source Type").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from chainzoom.version import __version__
from chainzoom.weights import Weights

ALGORITHMICALLY_ENHANCED = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
"""IPTC's term for a picture that an algorithm altered on a human's word."""

EDITED_WITH_GENERATIVE_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a real picture altered by a generative model (its label since 2024: "Edited using Generative AI")."""

NAMESPACE = "https://chainzoom.invalid/ns/1.0/"
"""XML namespace of the ``chainzoom:`` properties: a name only, nothing is served there."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a picture comes from.

    source_sha256   hash of the photo file's bytes
    scale           output pixels per source pixel
    synthesised     whether a backbone made detail that the photo does not hold
    weights         weight files behind the pixels; empty for plain interpolation and real pixels
    region          (x0, y0, x1, y1) in source pixels, or None for a picture that shows several
    generative      whether those weights are a generative model's (diffusion), for which IPTC has a term of its own
    synthesised_from  the scale from which on the run's pictures are synthesised, or None when unknown
    """

    source_sha256: str
    scale: float
    synthesised: bool
    weights: tuple[Weights, ...] = field(default=())
    region: tuple[float, float, float, float] | None = None
    prompt: str = ""
    seed: int | None = None
    synthesised_from: float | None = None
    generative: bool = False
    software: str = f"chainzoom {__version__}"


def sentence(p: Provenance) -> str:
    """The provenance for humans, in ASCII."""
    if not p.synthesised:
        return f"Real pixels of the photo, shown at {p.scale:g}x; nothing was synthesised."
    start = "Synthesised" if p.synthesised_from is None else f"Synthesised from {p.synthesised_from:g}x on"
    makers = ", ".join(dict.fromkeys(w.name for w in p.weights)) or "interpolation"
    return f"{start}; this picture shows {p.scale:g}x. Its detail was made by {_ascii(makers)} and is not evidence of what was there."


def properties(p: Provenance) -> dict[str, str]:
    """The bare facts by name, as strings; absent facts are left out."""
    facts = {
        "synthesised": "true" if p.synthesised else "false",
        "sourceSha256": p.source_sha256,
        "scale": repr(float(p.scale)),
        "region": "" if p.region is None else " ".join(repr(float(v)) for v in p.region),
        "weights": "; ".join(f"{w.name} {w.revision} sha256:{w.sha256} ({w.licence})" for w in p.weights),
        "prompt": p.prompt,
        "seed": "" if p.seed is None else str(p.seed),
        "synthesisedFrom": "" if p.synthesised_from is None else repr(float(p.synthesised_from)),
    }
    return {key: _printable(value) for key, value in facts.items() if value}


def text_chunks(p: Provenance) -> dict[str, str]:
    """PNG texts by keyword: Software, Source, Description and ``chainzoom:...``."""
    texts = {"Software": _printable(p.software), "Source": f"sha256:{_printable(p.source_sha256)}", "Description": sentence(p)}
    return texts | {f"chainzoom:{key}": value for key, value in properties(p).items()}


def xmp(p: Provenance) -> str:
    """The provenance as an XMP packet.

    A synthesised picture gets IPTC's source type ``algorithmicallyEnhanced``, or the one for generative models when the maker says so.
    A picture of real pixels gets no source type: the vocabulary's terms for untouched pictures (``digitalCapture``, ``negativeFilm``,
    ``digitalCreation``, ...) say how the photo was made, which we do not know; ``humanEdits`` would claim a retouch that did not happen;
    and a wrong claim is worse than none. ``chainzoom:synthesised`` says ``false`` instead.
    """
    lines = [f"<xmp:CreatorTool>{_xml(p.software)}</xmp:CreatorTool>"]
    lines.append(f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_xml(sentence(p))}</rdf:li></rdf:Alt></dc:description>')
    if p.synthesised:
        term = EDITED_WITH_GENERATIVE_AI if p.generative else ALGORITHMICALLY_ENHANCED
        lines.append(f"<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>")
    lines += [f"<chainzoom:{key}>{_xml(value)}</chainzoom:{key}>" for key, value in properties(p).items()]
    body = "\n   ".join(lines)
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:chainzoom="{NAMESPACE}">
   {body}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def _printable(text: str) -> str:
    """Without what XML 1.0 and PNG texts cannot hold: controls, lone surrogates, non-characters; white space becomes single spaces."""
    kept = (c for c in " ".join(text.split()) if ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0 and not 0xD800 <= ord(c) < 0xE000)
    return "".join(c for c in kept if ord(c) & 0xFFFE != 0xFFFE)


def _xml(text: str) -> str:
    return escape(_printable(text), quote=False)


def _ascii(text: str) -> str:
    return _printable(text).encode("ascii", "replace").decode("ascii")
