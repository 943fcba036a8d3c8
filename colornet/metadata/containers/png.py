"""Metadata in PNG: eXIf, iCCP, pHYs, XMP in iTXt, other text chunks, and ImageMagick's "Raw profile type" texts."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from colornet.metadata import photoshop
from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Density, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_INFLATED = 16 << 20
"""Bytes that a compressed chunk may hold."""

_XMP = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COLOUR = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI")
_REPLACED = (*_COLOUR, *_TEXTS, b"eXIf", b"pHYs", b"tIME", b"caBX")


def chunks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Walk through the chunks: where each begins, its type, and the bytes that it holds; raises DamagedError."""
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise DamagedError("the PNG is cut short")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise DamagedError(f"the chunk {kind!r} at byte {at} is cut short")
        yield at, kind, length
        if kind == b"IEND":
            return
        at += 12 + length


@dataclass
class _Found:
    """Parts, as they come."""

    notes: list[str] = field(default_factory=list)
    parts: dict[str, bytes] = field(default_factory=dict)
    density: Density | None = None
    texts: list[tuple[str, bytes]] = field(default_factory=list)


def read(data: bytes) -> Metadata:
    """Read what the chunks beside the picture hold."""
    found = _Found()
    try:
        for at, kind, length in chunks(data):
            if kind in _READERS:
                _read_chunk(kind, data[at + 8 : at + 8 + length], found)
    except DamagedError as error:
        found.notes.append(str(error))
    iptc, others, notes = photoshop.divide(found.parts.get("8bim", b""))
    return Metadata(
        exif=found.parts.get("exif"),
        xmp=found.parts.get("xmp"),
        iptc=found.parts.get("iptc") or iptc,
        photoshop=others,
        icc=found.parts.get("icc"),
        density=found.density,
        extras=tuple(found.texts),
        notes=(*found.notes, *notes),
    )


def _read_chunk(kind: bytes, payload: bytes, found: _Found) -> None:
    try:
        _READERS[kind](payload, found)
    except (DamagedError, ValueError, struct.error, zlib.error) as error:
        found.notes.append(f"the PNG chunk {kind.decode()} is damaged: {error}")


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, MAX_INFLATED)
    if not inflater.eof:
        raise DamagedError("it is cut short" if len(plain) < MAX_INFLATED else f"it holds over {MAX_INFLATED} bytes")
    return plain


def _read_profile(payload: bytes, found: _Found) -> None:
    _, _, rest = payload.partition(b"\0")
    found.parts["icc"] = _inflate(rest[1:])


def _read_exif(payload: bytes, found: _Found) -> None:
    found.parts["exif"] = payload.removeprefix(b"Exif\0\0")


def _read_density(payload: bytes, found: _Found) -> None:
    x, y, unit = struct.unpack(">IIB", payload)
    if unit == 1 or x != y:
        found.density = Density.sane(Fraction(x), Fraction(y), "m" if unit == 1 else "none")


def _read_text(payload: bytes, found: _Found) -> None:
    keyword, _, text = payload.partition(b"\0")
    if keyword.startswith(_RAW):
        _read_raw(keyword, text, found)
    else:
        found.texts.append(("png:tEXt", payload))


def _read_compressed(payload: bytes, found: _Found) -> None:
    keyword, _, rest = payload.partition(b"\0")
    text = _inflate(rest[1:])
    if keyword.startswith(_RAW):
        _read_raw(keyword, text, found)
    else:
        found.texts.append(("png:zTXt", payload))


def _read_international(payload: bytes, found: _Found) -> None:
    keyword, _, rest = payload.partition(b"\0")
    _, _, text = rest[2:].partition(b"\0")[2].partition(b"\0")  # after the language, and the keyword in it
    if rest[:1] == b"\1":
        text = _inflate(text)
    if keyword == _XMP:
        found.parts.setdefault("xmp", text)
    elif keyword.startswith(_RAW):
        _read_raw(keyword, text, found)
    else:
        found.texts.append(("png:iTXt", payload))


def _read_raw(keyword: bytes, text: bytes, found: _Found) -> None:
    """Read ImageMagick's form: a name, a length and hexadecimal digits, on lines of their own."""
    _, length, digits = text.strip().split(b"\n", 2)
    plain = bytes.fromhex(digits.decode("ascii"))
    if len(plain) != int(length):
        raise DamagedError(f"it says {int(length)} bytes and holds {len(plain)}")
    kind = keyword.removeprefix(_RAW)
    if kind in (b"exif", b"APP1") and plain.startswith(b"Exif\0\0"):
        found.parts.setdefault("exif", plain[6:])
    elif kind == b"xmp" or (kind == b"APP1" and plain.startswith(b"http://ns.adobe.com/xap/1.0/\0")):
        found.parts.setdefault("xmp", plain.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
    elif kind in (b"iptc", b"8bim"):
        plain = plain.removeprefix(b"Photoshop 3.0\0")
        found.parts["iptc" if plain.startswith(photoshop.IPTC_MARKER) else "8bim"] = plain
    elif kind in (b"icc", b"icm"):
        found.parts.setdefault("icc", plain)


_READERS: dict[bytes, Callable[[bytes, _Found], None]] = {
    b"iCCP": _read_profile,
    b"eXIf": _read_exif,
    b"pHYs": _read_density,
    b"tEXt": _read_text,
    b"zTXt": _read_compressed,
    b"iTXt": _read_international,
}


# --- writing ---------------------------------------------------------------------------------------------------------


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Replace all metadata of an encoded PNG, and what it says of its colour space if there is a profile.

    Raises:
        DamagedError: if the PNG is damaged.
    """
    written = list(_written(metadata))
    parts = [SIGNATURE]
    for at, kind, length in chunks(data):
        if kind not in _REPLACED or (kind in _COLOUR and not metadata.icc):
            parts.append(data[at : at + 12 + length])
        if kind == b"IHDR":
            parts += written
    return b"".join(parts)


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _written(metadata: Metadata) -> Iterator[bytes]:
    if metadata.icc:
        yield _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc, 9))
    if metadata.density:
        yield _density(metadata.density)
    if metadata.exif:
        yield _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield _chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + metadata.xmp)
    if metadata.iptc or metadata.photoshop:
        blocks = photoshop.join(metadata.iptc, metadata.photoshop)
        text = f"\niptc\n{len(blocks):8}\n{blocks.hex()}\n".encode()
        yield _chunk(b"zTXt", _RAW + b"iptc\0\0" + zlib.compress(text, 9))
    for kind, payload in metadata.extras:
        if kind.startswith("png:"):
            yield _chunk(kind.removeprefix("png:").encode(), payload)


def _density(density: Density) -> bytes:
    """PNG has whole pixels per metre."""
    metres = density.per("m")
    if metres:
        return _chunk(b"pHYs", struct.pack(">IIB", max(1, round(metres[0])), max(1, round(metres[1])), 1))
    shape = (density.x / density.y).limit_denominator(1000)
    return _chunk(b"pHYs", struct.pack(">IIB", max(1, shape.numerator), shape.denominator, 0))
