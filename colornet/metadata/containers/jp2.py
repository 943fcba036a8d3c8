"""Metadata in JP2's boxes (ISO 15444-1, annex I): colr, res, xml, and uuid with Exif, XMP, IPTC or Photoshop's blocks.

A bare code stream (.j2k, .j2c) has no boxes and so no metadata.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from colornet.metadata import icc_profiles, photoshop
from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Density, Metadata

CODE_STREAM = b"\xff\x4f\xff\x51"
"""How a bare code stream begins."""

_EXIF = b"JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_PHOTOSHOP = bytes.fromhex("2c4c01008504 40b9a03e562148d6dfeb")
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_KNOWN = (_EXIF, _XMP, _IPTC, _PHOTOSHOP, _C2PA)
_SRGB = 16
_ENUMERATED, _RESTRICTED_ICC, _ANY_ICC = 1, 2, 3
_MAX_BOX = 64 << 20


@dataclass(frozen=True)
class Box:
    """One box: its type, and where it and what it holds begin and end."""

    kind: bytes
    at: int
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Walk through the boxes between two offsets; raises DamagedError."""
    at = start
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if length == 0 else at + length
        if stop > end or stop < at + head:
            raise DamagedError(f"the box {kind!r} at byte {at} is cut short")
        yield Box(kind, at, at + head, stop)
        at = stop


@dataclass
class _Found:
    """Parts, as they come."""

    notes: list[str] = field(default_factory=list)
    uuids: dict[bytes, bytes] = field(default_factory=dict)
    extras: list[tuple[str, bytes]] = field(default_factory=list)
    icc: bytes | None = None
    density: Density | None = None


def read(data: bytes) -> Metadata:
    """Read what the boxes beside the code stream hold."""
    found = _Found()
    if not data.startswith(CODE_STREAM):
        try:
            for box in boxes(data, 0, len(data)):
                _sort(data, box, found)
        except (DamagedError, struct.error) as error:
            found.notes.append(f"JP2: {error}")
    iptc, others, notes = photoshop.divide(found.uuids.get(_PHOTOSHOP, b""))
    return Metadata(
        exif=found.uuids.get(_EXIF, b"").removeprefix(b"Exif\0\0") or None,
        xmp=found.uuids.get(_XMP),
        iptc=found.uuids.get(_IPTC) or iptc,
        photoshop=others,
        icc=found.icc,
        density=found.density,
        extras=tuple(found.extras),
        notes=(*found.notes, *notes),
    )


def _sort(data: bytes, box: Box, found: _Found) -> None:
    if box.kind == b"jp2h":
        for inner in boxes(data, box.start, box.end):
            _sort_header(data, inner, found)
    elif box.kind in (b"uuid", b"xml ") and box.end - box.start > _MAX_BOX:
        found.notes.append(f"a box of {box.end - box.start} bytes is not kept")
    elif box.kind == b"uuid":
        name, payload = data[box.start : box.start + 16], data[box.start + 16 : box.end]
        if name in _KNOWN:
            found.uuids.setdefault(name, payload)
        else:
            found.extras.append(("jp2:uuid", data[box.start : box.end]))
    elif box.kind == b"xml ":
        found.extras.append(("jp2:xml ", data[box.start : box.end]))


def _sort_header(data: bytes, box: Box, found: _Found) -> None:
    if box.kind == b"colr" and found.icc is None and box.end - box.start > 3:
        if data[box.start] in (_RESTRICTED_ICC, _ANY_ICC):
            found.icc = data[box.start + 3 : box.end]
    elif box.kind == b"res ":
        for inner in boxes(data, box.start, box.end):
            if inner.kind == b"resc" or (inner.kind == b"resd" and found.density is None):  # capture before display
                found.density = _read_resolution(data[inner.start : inner.end]) or found.density


def _read_resolution(payload: bytes) -> Density | None:
    """Numerators, denominators and powers of ten of the pixels per metre, vertically and horizontally."""
    up, down, right, left, tall, wide = struct.unpack(">HHHHbb", payload[:10].ljust(10, b"\0"))
    if not down or not left:
        return None
    return Density.sane(Fraction(right, left) * Fraction(10) ** wide, Fraction(up, down) * Fraction(10) ** tall, "m")


# --- writing ---------------------------------------------------------------------------------------------------------


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Replace all metadata of an encoded JP2; a bare code stream is returned as it is. Raises DamagedError."""
    if data.startswith(CODE_STREAM):
        return data
    parts = []
    for box in boxes(data, 0, len(data)):
        if box.kind == b"jp2h":
            parts += [_box(b"jp2h", _header(data, box, metadata)), *_written(metadata)]
        elif box.kind not in (b"uuid", b"xml ", b"jumb"):
            parts.append(data[box.at : box.end])
    return b"".join(parts)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def _header(data: bytes, box: Box, metadata: Metadata) -> bytes:
    parts = []
    for inner in boxes(data, box.start, box.end):
        if inner.kind == b"ihdr" and metadata.icc:  # a file's first colr counts, and ihdr comes before all
            parts += [data[inner.at : inner.end], _colour(metadata.icc)]
        elif inner.kind != b"res " and not (inner.kind == b"colr" and metadata.icc):
            parts.append(data[inner.at : inner.end])
    return b"".join(parts) + _resolution(metadata.density)


def _colour(profile: bytes) -> bytes:
    """JP2 has a number for sRGB, and readers that know no profiles know the number."""
    if profile == icc_profiles.srgb():
        return _box(b"colr", struct.pack(">BbBI", _ENUMERATED, 0, 0, _SRGB))
    return _box(b"colr", struct.pack(">BbB", _RESTRICTED_ICC, 0, 0) + profile)


def _resolution(density: Density | None) -> bytes:
    metres = density.per("m") if density else None
    if metres is None:
        return b""
    (right, left, wide), (up, down, tall) = _scaled(metres[0]), _scaled(metres[1])
    return _box(b"res ", _box(b"resc", struct.pack(">HHHHbb", up, down, right, left, tall, wide)))


def _scaled(value: Fraction) -> tuple[int, int, int]:
    """Write a number as a fraction of 16-bit numbers and a power of ten: exactly if it can be."""
    for power in range(8):
        part = value / 10**power
        if max(part.as_integer_ratio()) < 65536:
            return part.numerator, part.denominator, power
    power = max(0, len(str(int(value))) - 4)
    part = (value / 10**power).limit_denominator(6)
    return max(1, part.numerator), part.denominator, power


def _written(metadata: Metadata) -> Iterator[bytes]:
    named = (
        (_EXIF, metadata.exif),
        (_XMP, metadata.xmp),
        (_IPTC, metadata.iptc),
        (_PHOTOSHOP, metadata.photoshop),
    )
    for name, payload in named:
        if payload:
            yield _box(b"uuid", name + payload)
    for kind, payload in metadata.extras:
        if kind.startswith("jp2:"):
            yield _box(kind.removeprefix("jp2:").encode(), payload)
