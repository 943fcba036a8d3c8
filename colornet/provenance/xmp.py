"""Every output says in its XMP what it is: a colorized copy, made of which source, by which software and bundle.

The bytes depend on nothing but the arguments, so that two runs give the same file.
"""

import hashlib
import re
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Literal, get_args

from lxml import etree
from pydantic import SkipValidation

from colornet.hints import Hint, people
from colornet.metadata import Metadata, xmp
from colornet.metadata.ifd import DamagedError
from colornet.settings import settings

DigitalSourceType = Literal[
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicallyEnhanced",
    "trainedAlgorithmicMedia",
    "algorithmicMedia",
    "composite",
    "compositeCapture",
    "compositeSynthetic",
    "computationalCapture",
    "dataDrivenMedia",
    "digitalCapture",
    "digitalCreation",
    "humanEdits",
    "negativeFilm",
    "positiveFilm",
    "print",
    "screenCapture",
    "virtualRecording",
]
"""The terms of IPTC's NewsCodes "Digital Source Type" that are not retired."""
DIGITAL_SOURCE_TYPES: tuple[DigitalSourceType, ...] = get_args(DigitalSourceType)
DEFAULT_SOURCE_TYPE: DigitalSourceType = "compositeWithTrainedAlgorithmicMedia"

_NEWSCODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "stRef": "http://ns.adobe.com/xap/1.0/sType/ResourceRef#",
    "colornet": "urn:colornet:1.0#",
}
_IDENTIFIERS = ("DocumentID", "InstanceID", "OriginalDocumentID")
_PREFIXES = {**xmp.NAMESPACES, **_NAMESPACES}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_NAME = 255


def source_type_uri(term: DigitalSourceType) -> str:
    """The URI of a term."""
    return _NEWSCODES + term


@settings
class Origin:
    """What an output was made of, and by what."""

    source_name: SkipValidation[str]
    """The source's file name; of a path or key, only what follows the last slash is written. Names may hold what is no
    Unicode, as Python writes bytes that it cannot decode: U+FFFD is written for it."""
    source_sha256: str
    """Of the source's bytes, hexadecimal."""
    bundle_digest: str
    """Of the model bundle, hexadecimal."""
    software: str
    """Name and version, as "Colornet 0.1.0"."""
    digital_source_type: DigitalSourceType = DEFAULT_SOURCE_TYPE
    """IPTC's term for what the output is."""
    settings: str = ""
    """What else decides what the output looks like, such as a digest of the settings."""
    strength: float = 1.0
    """Factor of the colours' chroma that somebody chose; it is written if it is not 1."""
    hints: SkipValidation[tuple[Hint, ...]] = ()
    """Colours that people chose, in order."""
    created: datetime | None = None
    """When it was made. Given, it makes each run's files differ."""

    @property
    def file_name(self) -> str:
        """The source's name without folders, fit for XML."""
        name = re.split(r"[/\\]", self.source_name.rstrip("/\\"))[-1]
        return _NOT_XML.sub("\ufffd", name)[:_LONGEST_NAME]

    @property
    def identity(self) -> uuid.UUID:
        """The same for equal outputs, another for others."""
        decisive = (self.source_sha256, self.bundle_digest, self.software, self.digital_source_type, self.settings)
        return uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(repr(decisive).encode()).hexdigest())

    def hints_on(self, page: int) -> tuple[Hint, ...]:
        """The hints for one page."""
        return tuple(hint for hint in self.hints if hint.page == page)


def describe(metadata: Metadata, origin: Origin, confidence: float | None = None, page: int = 0) -> Metadata:
    """Add to a source's metadata what its colorized copy is, and where it comes from.

    With `confidence`, in [0, 1], it also says how sure the generator was of its colour, as colornet:Confidence. A
    strength that is not 1 is colornet:Strength.

    XMP gains Iptc4xmpExt:DigitalSourceType, xmpMM:DerivedFrom (the source's identifiers, name and SHA-256), an event in
    xmpMM:History (software, bundle), identifiers of its own, and colornet:SourceSHA256 and colornet:BundleDigest. All
    that it said before is kept; the source's own type and origin as colornet:SourceDigitalSourceType and
    colornet:SourceDerivedFrom.

    Of a page for which people chose colours it says so: in xmpMM:History, and one by one in colornet:Hints (X and Y in
    pixels of the upright picture, Color, By, Note).
    """
    notes = list(metadata.notes)
    try:
        rdf = xmp.parse(metadata.xmp) if metadata.xmp else xmp.empty()
    except DamagedError as error:
        notes.append(f"XMP is damaged: {error}")
        rdf = xmp.empty()
    _add(rdf, origin, confidence, origin.hints_on(page))
    return replace(metadata, xmp=xmp.serialize(rdf), notes=tuple(notes))


def _name(qualified: str) -> str:
    prefix, _, local = qualified.partition(":")
    return f"{{{_PREFIXES[prefix]}}}{local}"


def _add(rdf: etree._Element, origin: Origin, confidence: float | None, hints: tuple[Hint, ...]) -> None:
    found = {part: xmp.simple(rdf, _name(f"xmpMM:{part}")) for part in _IDENTIFIERS}
    source_type = xmp.simple(rdf, _name("Iptc4xmpExt:DigitalSourceType"))
    derived = xmp.remove(rdf, _name("xmpMM:DerivedFrom"))
    history = xmp.remove(rdf, _name("xmpMM:History"))
    values = {
        "Iptc4xmpExt:DigitalSourceType": source_type_uri(origin.digital_source_type),
        "colornet:BundleDigest": origin.bundle_digest,
        "colornet:Confidence": None if confidence is None else f"{confidence:.4f}",
        "colornet:SourceDerivedFrom": None,
        "colornet:SourceDigitalSourceType": source_type,
        "colornet:SourceSHA256": origin.source_sha256,
        "colornet:Strength": None if origin.strength == 1 else f"{origin.strength:g}",
        "xmpMM:DocumentID": f"xmp.did:{origin.identity}",
        "xmpMM:InstanceID": f"xmp.iid:{origin.identity}",
        "xmpMM:OriginalDocumentID": found["OriginalDocumentID"] or found["DocumentID"],
    }
    for qualified in (*values, "colornet:Hints"):
        xmp.remove(rdf, _name(qualified))
    more = xmp.describe_more(rdf, _NAMESPACES)
    _write(more, values)
    _structure(etree.SubElement(more, _name("xmpMM:DerivedFrom")), _reference(found, origin))
    for element in derived[:1]:
        element.tag = _name("colornet:SourceDerivedFrom")
        more.append(element)
    if hints:
        more.append(_chosen(hints))
    more.append(_history(history, _event(origin, hints)))


def _reference(found: dict[str, str | None], origin: Origin) -> dict[str, str | None]:
    """What xmpMM:DerivedFrom says: the source's own identifiers, else its digest."""
    return {
        "stRef:documentID": found["DocumentID"] or f"sha256:{origin.source_sha256}",
        "stRef:filePath": origin.file_name,
        "stRef:instanceID": found["InstanceID"],
        "stRef:originalDocumentID": found["OriginalDocumentID"],
    }


def _chosen(hints: tuple[Hint, ...]) -> etree._Element:
    """What people chose, one by one."""
    chosen = etree.Element(_name("colornet:Hints"), nsmap={"colornet": _NAMESPACES["colornet"]})
    places = etree.SubElement(chosen, _name("rdf:Seq"))
    for hint in hints:
        values = {
            "colornet:By": hint.by or None,
            "colornet:Color": str(hint.color),
            "colornet:Note": hint.note or None,
            "colornet:X": str(hint.x),
            "colornet:Y": str(hint.y),
        }
        _structure(etree.SubElement(places, _name("rdf:li")), values)
    return chosen


def _event(origin: Origin, hints: tuple[Hint, ...]) -> dict[str, str | None]:
    """What xmpMM:History says of the colorization."""
    settings = f"; settings {origin.settings}" if origin.settings else ""
    by = f" by {people(hints)}" if people(hints) else ""
    chosen = f"; colours at {len(hints)} places chosen{by}" if hints else ""
    return {
        "stEvt:action": "edited",
        "stEvt:changed": "/",
        "stEvt:instanceID": f"xmp.iid:{origin.identity}",
        "stEvt:parameters": f"colorized; bundle {origin.bundle_digest}{settings}{chosen}",
        "stEvt:softwareAgent": origin.software,
        "stEvt:when": origin.created.isoformat() if origin.created else None,
    }


def _structure(element: etree._Element, values: dict[str, str | None]) -> None:
    element.set(_name("rdf:parseType"), "Resource")
    _write(element, values)


def _write(element: etree._Element, values: dict[str, str | None]) -> None:
    for qualified, value in values.items():
        if value is not None:
            etree.SubElement(element, _name(qualified)).text = _NOT_XML.sub("\ufffd", value)


def _history(before: list[etree._Element], event: dict[str, str | None]) -> etree._Element:
    """The source's events, and the one more."""
    history = etree.Element(_name("xmpMM:History"), nsmap={"xmpMM": _NAMESPACES["xmpMM"]})
    events = etree.SubElement(history, _name("rdf:Seq"))
    for element in before:
        events.extend(element.findall(f"*/{_name('rdf:li')}"))
    _structure(etree.SubElement(events, _name("rdf:li")), event)
    return history
