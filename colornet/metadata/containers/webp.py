"""Metadata in WebP's RIFF chunks: EXIF, XMP and ICCP, announced by VP8X."""

import struct
from collections.abc import Iterator

from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Metadata

_ICC_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG = 0x20, 0x10, 0x08, 0x04
_METADATA = (b"VP8X", b"ICCP", b"EXIF", b"XMP ", b"C2PA")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk through the chunks: the type of each, and what it holds; raises DamagedError."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise DamagedError("it is not a WebP file")
    at, end = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        payload = data[at + 8 : at + 8 + length]
        if len(payload) != length:
            raise DamagedError(f"the chunk {kind!r} at byte {at} is cut short")
        yield kind, payload
        at += 8 + length + length % 2


def read(data: bytes) -> Metadata:
    """Read what the chunks beside the picture hold."""
    found: dict[bytes, bytes] = {}
    notes: tuple[str, ...] = ()
    try:
        for kind, payload in chunks(data):
            if kind in _METADATA:
                found.setdefault(kind, payload)
    except DamagedError as error:
        notes = (f"WebP: {error}",)
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    return Metadata(exif=exif or None, xmp=found.get(b"XMP "), icc=found.get(b"ICCP"), notes=notes)


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Replace all metadata of an encoded WebP; raises DamagedError if it is damaged."""
    picture = [(kind, payload) for kind, payload in chunks(data) if kind not in _METADATA]
    header = _header(list(chunks(data)), metadata)
    before = [(b"ICCP", metadata.icc)] if metadata.icc else []
    after = [(kind, part) for kind, part in ((b"EXIF", metadata.exif), (b"XMP ", metadata.xmp)) if part]
    body = b"".join(_chunk(kind, payload) for kind, payload in [(b"VP8X", header), *before, *picture, *after])
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def _header(found: list[tuple[bytes, bytes]], metadata: Metadata) -> bytes:
    """VP8X: flags of what there is, and the size of the canvas less one."""
    width, height, flags = _canvas(found)
    flags |= _ICC_FLAG * bool(metadata.icc) | _EXIF_FLAG * bool(metadata.exif) | _XMP_FLAG * bool(metadata.xmp)
    return struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _canvas(found: list[tuple[bytes, bytes]]) -> tuple[int, int, int]:
    """Width, height and the flags that do not speak of metadata."""
    for kind, payload in found:
        if kind == b"VP8X" and len(payload) >= 10:
            flags = payload[0] & ~(_ICC_FLAG | _EXIF_FLAG | _XMP_FLAG)
            return int.from_bytes(payload[4:7], "little") + 1, int.from_bytes(payload[7:10], "little") + 1, flags
        if kind == b"VP8L" and len(payload) >= 5 and payload[0] == 0x2F:  # lossless: two numbers of 14 bits, then alpha
            bits = int.from_bytes(payload[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, _ALPHA_FLAG * (bits >> 28 & 1)
        if kind == b"VP8 " and len(payload) >= 10 and payload[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", payload, 6)
            return width & 0x3FFF, height & 0x3FFF, 0
    raise DamagedError("the WebP has no picture")
