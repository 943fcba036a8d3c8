"""XMP packets (ISO 16684-1): parsed without entities, network or size without bound; changed; written again.

A packet is UTF-8 XML: x:xmpmeta around rdf:RDF around rdf:Description elements, whose attributes and child elements are
the properties.
"""

import hashlib

from lxml import etree

from colornet.errors import one_line
from colornet.metadata.ifd import DamagedError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}
MAX_PACKET = 16 << 20
"""Bytes of the longest packet that is read."""

_WIDE = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\0\0\0<", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"<\0", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\0<", "utf-16-be"),
)
# JPEG demands UTF-8; other containers also allow these.

_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_TAIL = '\n<?xpacket end="w"?>'
_LINK = 300  # more than the bytes that name an extension
_ABOUT = f"{{{RDF}}}about"
_OUTPUT_IS_COLOUR = {"photoshop:ColorMode": "3", "exif:ColorSpace": "1"}
_UNTRUE_OF_OUTPUT = (
    "xmp:Thumbnails",
    "photoshop:ICCProfile",
    "tiff:BitsPerSample",
    "tiff:Compression",
    "tiff:PhotometricInterpretation",
    "tiff:PlanarConfiguration",
    "tiff:PrimaryChromaticities",
    "tiff:ReferenceBlackWhite",
    "tiff:SamplesPerPixel",
    "tiff:TransferFunction",
    "tiff:WhitePoint",
    "tiff:YCbCrCoefficients",
    "tiff:YCbCrSubSampling",
)


def name(qualified: str) -> str:
    """Make of "dc:title" the name that lxml uses."""
    prefix, _, local = qualified.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def parse(packet: bytes) -> etree._Element:
    """Parse a packet to its rdf:RDF element; raises DamagedError."""
    if len(packet) > MAX_PACKET:
        raise DamagedError(f"{len(packet)} bytes are more than the bound of {MAX_PACKET}")
    text = _text(packet)
    if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):
        raise DamagedError("it declares a document type")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DamagedError(one_line(error)) from error
    found = root if root.tag == name("rdf:RDF") else root.find(name("rdf:RDF"))
    if found is None:
        raise DamagedError("there is no rdf:RDF in it")
    return found


def _text(packet: bytes) -> str:
    """Decode a packet and take off what wraps it."""
    encoding = next((encoding for start, encoding in _WIDE if packet.startswith(start)), "utf-8")
    try:
        text = packet.decode(encoding)
    except UnicodeError as error:
        raise DamagedError(f"it is not {encoding.upper()}") from error
    start, end = text.find("<"), text.rfind(">")
    if start < 0 or end < start:
        raise DamagedError("there is no XML in it")
    text = text[start : end + 1]
    if text.startswith("<?xml "):  # its encoding is no longer true of the text
        text = text[text.find("?>") + 2 :].lstrip()
    return text


def serialize(rdf: etree._Element) -> bytes:
    """Write a packet of an rdf:RDF element."""
    root = rdf.getroottree().getroot()
    if root.tag == rdf.tag:
        root = etree.Element(name("x:xmpmeta"), nsmap={"x": NAMESPACES["x"]})
        root.append(rdf)
    return (_HEAD + etree.tostring(root, encoding="unicode", with_tail=False) + _TAIL).encode()


def empty() -> etree._Element:
    """Make an rdf:RDF element without properties."""
    root = etree.Element(name("x:xmpmeta"), nsmap={"x": NAMESPACES["x"]})
    return etree.SubElement(root, name("rdf:RDF"), nsmap={"rdf": RDF})


def descriptions(rdf: etree._Element) -> list[etree._Element]:
    """The elements that hold properties."""
    return list(rdf.iterchildren(name("rdf:Description")))


def describe_more(rdf: etree._Element, nsmap: dict[str, str]) -> etree._Element:
    """Append an element for more properties, about what the others are about."""
    before = descriptions(rdf)
    more = etree.SubElement(rdf, name("rdf:Description"), nsmap=nsmap)
    more.set(_ABOUT, before[0].get(_ABOUT, "") if before else "")
    return more


def simple(rdf: etree._Element, tag: str) -> str | None:
    """The text of a simple property, given by lxml's name."""
    for description in descriptions(rdf):
        element = description.find(tag)
        value = description.get(tag) if element is None else element.text
        if value is not None:
            return value.strip()
    return None


def remove(rdf: etree._Element, tag: str) -> list[etree._Element]:
    """Remove a property, given by lxml's name; returns the elements that held it, if elements did."""
    found = []
    for description in descriptions(rdf):
        description.attrib.pop(tag, None)
        for element in list(description.iterchildren(tag)):
            description.remove(element)
            found.append(element)
        if len(description) == 0 and set(description.attrib) <= {_ABOUT}:
            rdf.remove(description)
    return found


def orientation(packet: bytes) -> int | None:
    """The tiff:Orientation of a packet, 1 to 8, or None; raises DamagedError."""
    text = simple(parse(packet), name("tiff:Orientation"))
    return int(text) if text is not None and text in tuple("12345678") else None


def for_output(packet: bytes, media_type: str) -> bytes:
    """Take out of a packet what is not true of a colour picture of this media type; raises DamagedError."""
    rdf = parse(packet)
    for qualified in _UNTRUE_OF_OUTPUT:
        remove(rdf, name(qualified))
    for qualified, value in {**_OUTPUT_IS_COLOUR, "dc:format": media_type}.items():
        for description in descriptions(rdf):
            if name(qualified) in description.attrib:
                description.set(name(qualified), value)
            for element in description.iterchildren(name(qualified)):
                element.text = value
    return serialize(rdf)


# --- JPEG's packets of two parts (ISO 16684-3, "Extended XMP") ------------------------------------------------------


def merge(packet: bytes, extension: bytes) -> bytes:
    """Put the properties of an extension back into the packet that names it; raises DamagedError."""
    rdf, more = parse(packet), parse(extension)
    remove(rdf, name("xmpNote:HasExtendedXMP"))
    for description in descriptions(more):
        rdf.append(description)
    return serialize(rdf)


def split(packet: bytes, limit: int) -> tuple[bytes, bytes | None]:
    """Divide a packet so that its first part has at most `limit` bytes: the largest properties go into an extension.

    Returns:
        The packet, and the extension that it names by its digest, or None where none is needed. Raises DamagedError.
    """
    if len(packet) <= limit:
        return packet, None
    rdf, extension = parse(packet), empty()
    target: dict[etree._Element, etree._Element] = {}
    elements = [element for description in descriptions(rdf) for element in description]
    for element in sorted(elements, key=lambda element: len(etree.tostring(element)), reverse=True):
        source = element.getparent()
        assert source is not None  # it was found as a child
        if source not in target:
            target[source] = describe_more(extension, {k: v for k, v in source.nsmap.items() if k})
            target[source].set(_ABOUT, source.get(_ABOUT, ""))
        target[source].append(element)
        if len(serialize(rdf)) + _LINK <= limit:
            return _link(rdf, extension)
    return _link(empty(), parse(packet))


def _link(rdf: etree._Element, extension: etree._Element) -> tuple[bytes, bytes]:
    second = etree.tostring(extension.getroottree().getroot(), encoding="utf-8")
    note = describe_more(rdf, {"xmpNote": NAMESPACES["xmpNote"]})
    note.set(name("xmpNote:HasExtendedXMP"), digest(second))
    return serialize(rdf), second


def digest(extension: bytes) -> str:
    """The name by which a packet refers to its extension: MD5 in upper-case hexadecimal."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()
