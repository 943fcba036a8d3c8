"""WebP: what its chunks say of the picture. Source: RFC 9649."""

from collections.abc import Iterator

from colornet.errors import ScanError

_FRAME_HEADER = 16
"""Bytes of an ANMF chunk before the chunks of its frame."""


def size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk: the canvas's, or that of the only picture."""
    kind, head = data[12:16], data[20:30]
    if kind == b"VP8X" and len(head) == 10:
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8 " and len(head) == 10 and head[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if kind == b"VP8L" and len(head) >= 5 and head[0] == 0x2F:
        sides = int.from_bytes(head[1:5], "little")
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    raise ScanError("damaged WEBP: it does not begin with a picture")


def frames(data: bytes) -> int:
    """How many pictures there are: 1 without animation."""
    return max(1, sum(data[at : at + 4] == b"ANMF" for at in _chunks(data, 12)))


def is_lossless(data: bytes) -> bool:
    """Tell whether the picture, of an animation the first one, is held without loss."""
    start = next((at + 8 + _FRAME_HEADER for at in _chunks(data, 12) if data[at : at + 4] == b"ANMF"), 12)
    pictures = (data[at : at + 4] for at in _chunks(data, start))
    return next((kind == b"VP8L" for kind in pictures if kind in (b"VP8L", b"VP8 ")), False)


def _chunks(data: bytes, start: int) -> Iterator[int]:
    """Where the chunks of a RIFF file begin, from the one at `start`."""
    at = start
    while at + 8 <= len(data):
        yield at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + (length & 1)
