"""Photoshop's image resources: the list of blocks that JPEG's APP13 and TIFF's tag 34377 hold, IPTC among them."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from colornet.metadata.ifd import DamagedError

IPTC = 0x0404
"""IPTC-NAA record."""
THUMBNAILS = frozenset({1033, 1036})
_REPLACED = frozenset({1039, 1041, 1058, 1059, 1060}) | THUMBNAILS
"""ICC profile, its absence, Exif, XMP: an output has its own, or has them in a better place."""
_SIGNATURES = (b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa")
IPTC_MARKER = b"\x1c"
"""Every IPTC-IIM record begins with it."""


@dataclass(frozen=True)
class Resource:
    """One block, and all of its bytes."""

    code: int
    data: bytes
    raw: bytes


def resources(blocks: bytes) -> Iterator[Resource]:
    """Walk through the blocks; raises DamagedError where they stop making sense."""
    at = 0
    while at < len(blocks):
        if not blocks[at:].strip(b"\0"):
            return
        if blocks[at : at + 4] not in _SIGNATURES or at + 7 > len(blocks):
            raise DamagedError(f"no image resource begins at byte {at}")
        (code,) = struct.unpack_from(">H", blocks, at + 4)
        name_length = blocks[at + 6] + 1
        start = at + 6 + name_length + name_length % 2
        if start + 4 > len(blocks):
            raise DamagedError(f"the image resource at byte {at} is cut short")
        (size,) = struct.unpack_from(">I", blocks, start)
        data = blocks[start + 4 : start + 4 + size]
        if len(data) != size:
            raise DamagedError(f"the image resource at byte {at} is cut short")
        raw = blocks[at : start + 4 + size]
        yield Resource(code, data, raw + b"\0" * (size % 2))
        at = start + 4 + size + size % 2


def divide(blocks: bytes) -> tuple[bytes | None, bytes | None, list[str]]:
    """Divide the blocks into IPTC records and the other blocks; a note says what was damaged."""
    iptc, others, notes = None, [], []
    try:
        for resource in resources(blocks):
            if resource.code != IPTC:
                others.append(resource.raw)
            elif iptc is None:
                iptc = resource.data
    except DamagedError as error:
        notes.append(f"Photoshop resources are damaged: {error}")
    return iptc or None, b"".join(others) or None, notes


def join(iptc: bytes | None, others: bytes | None) -> bytes:
    """Write IPTC records and the other blocks as one list."""
    block = b""
    if iptc:
        block = b"8BIM" + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    return block + (others or b"")


def without(blocks: bytes, codes: Iterable[int] = _REPLACED) -> bytes:
    """Leave some blocks out, by default those that are not true of an output; raises DamagedError."""
    return b"".join(resource.raw for resource in resources(blocks) if resource.code not in set(codes))
