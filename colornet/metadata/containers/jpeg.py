"""Metadata in JPEG: JFIF's density, Exif and XMP in APP1, ICC in APP2, Photoshop in APP13, comments."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from colornet.metadata import photoshop, xmp
from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Density, Metadata, Unit

MAX_SEGMENT = 65533
"""Bytes that one segment holds, beside its marker and length."""
MAX_EXIF = MAX_SEGMENT - 6

_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xFE
_SOS, _EOI = 0xDA, 0xD9
_JFIF = b"JFIF\0"
_EXIF = b"Exif\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_UNITS: dict[int, Unit] = {0: "none", 1: "inch", 2: "cm"}


@dataclass(frozen=True)
class Segment:
    """One marker segment of the header: where it begins, its marker, and what it holds."""

    at: int
    marker: int
    data: bytes


def segments(data: bytes) -> Iterator[Segment]:
    """Walk through the segments before the first scan; raises DamagedError."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        while at >= 0 and data[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        if at < 0 or at + 4 > len(data):
            raise DamagedError("the JPEG ends before its picture begins")
        marker = data[at + 1]
        if marker in (_SOS, _EOI):
            return
        if marker in (0, 1) or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            raise DamagedError(f"a segment at byte {at} is cut short")
        yield Segment(at, marker, data[at + 4 : at + 2 + length])
        at += 2 + length


@dataclass
class _Found:
    """Parts, as they come."""

    notes: list[str]
    density: Density | None = None
    exif: bytes | None = None
    packet: bytes | None = None
    extensions: dict[bytes, list[tuple[int, int, bytes]]] | None = None
    icc: list[bytes] | None = None
    photoshop: bytes = b""
    comments: tuple[bytes, ...] = ()


def read(data: bytes) -> Metadata:
    """Read what the segments before the first scan hold."""
    found = _Found([])
    try:
        for segment in segments(data):
            _sort(segment, found)
    except DamagedError as error:
        found.notes.append(str(error))
    iptc, others, notes = photoshop.divide(found.photoshop)
    return Metadata(
        exif=found.exif,
        xmp=_whole_packet(found),
        iptc=iptc,
        photoshop=others,
        icc=_whole_profile(found),
        density=found.density,
        extras=tuple(("jpeg:COM", comment) for comment in found.comments),
        notes=(*found.notes, *notes),
    )


def _sort(segment: Segment, found: _Found) -> None:
    marker, data = segment.marker, segment.data
    if marker == _APP0 and data.startswith(_JFIF) and found.density is None:
        found.density = _jfif_density(data)
    elif marker == _APP1 and data.startswith(_EXIF) and found.exif is None:
        found.exif = data[6:]
    elif marker == _APP1 and data.startswith(_XMP) and found.packet is None:
        found.packet = data[len(_XMP) :]
    elif marker == _APP1 and data.startswith(_EXTENSION):
        _sort_extension(data[len(_EXTENSION) :], found)
    elif marker == _APP2 and data.startswith(_ICC):
        found.icc = [*(found.icc or []), data[len(_ICC) :]]
    elif marker == _APP13 and data.startswith(_PHOTOSHOP):
        found.photoshop += data[len(_PHOTOSHOP) :]
    elif marker == _COM:
        found.comments += (data,)


def _jfif_density(data: bytes) -> Density | None:
    if len(data) < 12:
        return None
    unit, x, y = struct.unpack_from(">BHH", data, 7)
    if unit not in _UNITS or (unit == 0 and x == y):
        return None
    return Density.sane(Fraction(x), Fraction(y), _UNITS[unit])


def _sort_extension(data: bytes, found: _Found) -> None:
    if len(data) >= 40:
        total, offset = struct.unpack_from(">II", data, 32)
        found.extensions = found.extensions or {}
        found.extensions.setdefault(data[:32], []).append((offset, total, data[40:]))


def _whole_packet(found: _Found) -> bytes | None:
    """Put a packet and the extension that it names together."""
    if found.packet is None or not found.extensions:
        return found.packet
    try:
        named = xmp.simple(xmp.parse(found.packet), xmp.name("xmpNote:HasExtendedXMP"))
        if named is None:
            return found.packet
        parts = sorted(found.extensions.get(named.encode(), []))
        extension = b"".join(part for _, _, part in parts)
        if not parts or xmp.digest(extension) != named:
            raise DamagedError("its parts do not add up")
        return xmp.merge(found.packet, extension)
    except DamagedError as error:
        found.notes.append(f"extended XMP is damaged: {error}")
        return found.packet


def _whole_profile(found: _Found) -> bytes | None:
    """Put the chunks of a profile together: each begins with its number and the number of all."""
    if not found.icc:
        return None
    chunks = {chunk[0]: chunk for chunk in found.icc if len(chunk) > 2}
    count = found.icc[0][1] if len(found.icc[0]) > 2 else 0
    if count == 0 or set(chunks) != set(range(1, count + 1)):
        found.notes.append("the ICC profile is damaged: its chunks do not add up")
        return None
    return b"".join(chunks[number][2:] for number in range(1, count + 1))


# --- writing ---------------------------------------------------------------------------------------------------------


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Replace all metadata of an encoded JPEG, comments included; the picture's own segments stay as they are.

    Raises:
        DamagedError: if the JPEG is damaged, or a part of the metadata does not fit: Exif over 65,527 bytes.
    """
    kept, start, jfif = [], 2, False
    for segment in segments(data):
        end = segment.at + 4 + len(segment.data)
        start = end
        if _APP0 <= segment.marker <= 0xEF or segment.marker == _COM:
            jfif |= segment.marker == _APP0 and segment.data.startswith(_JFIF)
            if segment.marker != _APP14:
                continue
        kept.append(data[segment.at : end])
    adobe = any(segment[1] == _APP14 for segment in kept)
    # A JFIF header beside Adobe's alone would change how the picture's channels are understood.
    head = [_jfif(metadata.density)] if jfif or not adobe else []
    return b"".join([b"\xff\xd8", *head, *_written(metadata), *kept, data[start:]])


def _segment(marker: int, data: bytes) -> bytes:
    if len(data) > MAX_SEGMENT:
        raise DamagedError(f"{len(data)} bytes do not fit into a JPEG segment")
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _jfif(density: Density | None) -> bytes:
    unit, x, y = _jfif_numbers(density)
    return _segment(_APP0, _JFIF + struct.pack(">HBHHBB", 0x0101, unit, x, y, 0, 0))


def _jfif_numbers(density: Density | None) -> tuple[int, int, int]:
    """JFIF has whole numbers of 16 bits, per inch or centimetre: the exact one, else the nearest per inch."""
    centimetres, inches = (density.per("cm"), density.per("inch")) if density else (None, None)
    if density and density.unit == "cm" and centimetres and _whole(centimetres):
        return 2, int(centimetres[0]), int(centimetres[1])
    if inches and all(0.5 < value < 65535 for value in inches):
        return 1, round(inches[0]), round(inches[1])
    if density and density.unit == "none":
        shape = (density.x / density.y).limit_denominator(255)
        if 0 < shape.numerator < 65536:
            return 0, shape.numerator, shape.denominator
    return 0, 1, 1


def _whole(values: tuple[Fraction, Fraction]) -> bool:
    return all(value.denominator == 1 and value < 65536 for value in values)


def _written(metadata: Metadata) -> Iterator[bytes]:
    if metadata.exif:
        yield _segment(_APP1, _EXIF + b"\0" + metadata.exif)
    if metadata.xmp:
        yield from _xmp(metadata.xmp)
    blocks = photoshop.join(metadata.iptc, metadata.photoshop)
    for part in _parts(blocks, MAX_SEGMENT - len(_PHOTOSHOP)):
        yield _segment(_APP13, _PHOTOSHOP + part)
    chunks = _parts(metadata.icc or b"", MAX_SEGMENT - len(_ICC) - 2)
    if len(chunks) > 255:
        raise DamagedError(f"an ICC profile of {len(metadata.icc or b'')} bytes does not fit into a JPEG")
    for number, chunk in enumerate(chunks, 1):
        yield _segment(_APP2, _ICC + struct.pack("BB", number, len(chunks)) + chunk)
    for kind, payload in metadata.extras:
        if kind == "jpeg:COM":
            yield _segment(_COM, payload)


def _xmp(packet: bytes) -> Iterator[bytes]:
    first, extension = xmp.split(packet, MAX_SEGMENT - len(_XMP))
    yield _segment(_APP1, _XMP + first)
    if extension is not None:
        at = 0
        for part in _parts(extension, MAX_SEGMENT - len(_EXTENSION) - 40):
            head = xmp.digest(extension).encode() + struct.pack(">II", len(extension), at)
            yield _segment(_APP1, _EXTENSION + head + part)
            at += len(part)


def _parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
