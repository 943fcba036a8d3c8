"""JPEG 2000 files put together by hand: planes of any sampling, in boxes that say anything of them."""

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np

SIZ, COD, QCD, SOT, SOD = 0xFF51, 0xFF52, 0xFF5C, 0xFF90, 0xFF93
COMPONENTS_FIRST = 4
"""The progression CPRL: all packets of a component come before those of the next."""


def codestream(planes: Sequence[np.ndarray], steps: Sequence[tuple[int, int]] | None = None) -> bytes:
    """Join planes, each coded alone without loss, into one codestream; the first has the picture's size.

    Args:
        planes: uint8 or uint16, all of one type, of ceil(height / dy) × ceil(width / dx) samples.
        steps: (dx, dy) of each, if not 1.
    """
    alone = [bytes(imagecodecs.jpeg2k_encode(p, reversible=True, codecformat="j2k", resolutions=2)) for p in planes]
    packets = b"".join(code[code.index(struct.pack(">H", SOD)) + 2 : -2] for code in alone)
    head = _segments(alone[0][2 : alone[0].index(struct.pack(">H", SOT))])
    height, width = planes[0].shape
    depth = 8 * planes[0].itemsize - 1
    size = struct.pack(">H8IH", 0, width, height, 0, 0, width, height, 0, 0, len(planes))
    size += b"".join(bytes((depth, *step)) for step in steps or [(1, 1)] * len(planes))
    style = bytearray(head[COD])
    style[1], style[4] = COMPONENTS_FIRST, 0  # and no transform from one component to another
    start = _segment(SOT, struct.pack(">HIBB", 0, 12 + 2 + len(packets), 0, 1))
    main = b"\xff\x4f" + _segment(SIZ, size) + _segment(COD, style) + _segment(QCD, head[QCD])
    return main + start + struct.pack(">H", SOD) + packets + b"\xff\xd9"


def jp2(code: bytes, *, space: int | bytes, channels: Sequence[tuple[int, int, int]] = ()) -> bytes:
    """Wrap a codestream.

    Args:
        code: what `codestream` gives.
        space: number of the colour space, or an ICC profile.
        channels: of the cdef box: channel, type (0 colour, 1 opacity, 2 premultiplied, 65535 unknown), association.
    """
    width, height = struct.unpack_from(">II", code, 8)
    (components, depth) = struct.unpack_from(">HB", code, 40)
    header = _box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, depth, 7, 0, 0))
    header += _box(b"colr", b"\2\0\0" + space if isinstance(space, bytes) else b"\1\0\0" + struct.pack(">I", space))
    if channels:
        rows = b"".join(struct.pack(">3H", *channel) for channel in channels)
        header += _box(b"cdef", struct.pack(">H", len(channels)) + rows)
    start = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + _box(b"jp2h", header) + _box(b"jp2c", code)


def _segments(head: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(head):
        marker, length = struct.unpack_from(">HH", head, at)
        found[marker] = head[at + 4 : at + 2 + length]
        at += 2 + length
    return found


def _segment(marker: int, body: bytes | bytearray) -> bytes:
    return struct.pack(">HH", marker, len(body) + 2) + bytes(body)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
