"""The segments of a JPEG: read, and written again as they are. Coded data is passed on, never decoded.

Source: ITU-R Rec. T.81, annex B.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from colornet.errors import ScanError

SOI, EOI, SOS, DQT, DHT, DAC, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS = 0xC0, 0xC1, 0xC2, 0xC3
FRAMES = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
CODING = (DQT, DHT, DAC, DRI, SOS)
_JPEG_LS = 0xF7
_BEGINNINGS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
"""Of the segments of applications that decide what components mean."""
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
# What ends the coded data of a scan: a marker that is neither a stuffed zero, nor a restart, nor filling.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class Segment(NamedTuple):
    """A marker segment."""

    marker: int
    body: memoryview
    """What follows the marker and the length."""
    coded: memoryview
    """What follows the header of a scan; empty for other segments."""


class Component(NamedTuple):
    """What a frame header says of a component."""

    name: int
    horizontal: int
    """Sampling factor."""
    vertical: int
    """Sampling factor."""
    table: int
    """Number of its quantisation table."""


@dataclass(frozen=True)
class Frame:
    """A frame header."""

    marker: int
    """Which of the codings it is: one of FRAMES."""
    bits: int
    """Of a sample."""
    height: int
    width: int
    components: tuple[Component, ...]


@dataclass(frozen=True)
class Plane:
    """The first component of a JPEG, as it is coded."""

    frame: Frame
    table: bytes
    """64 steps of the quantisation, of 1 byte each or of 2, in zigzag order."""
    scans: list[Segment]
    """Huffman tables, restart intervals and scans, in their order; of the scans only those of this component."""
    interleaved: bool
    """Whether a scan holds other components beside this one."""


def segments(data: bytes) -> Iterator[Segment]:
    """The segments between the first SOI and EOI; stray bytes between them are passed over. Raises ScanError."""
    view, position = memoryview(data), 2
    if data[:2] != bytes((0xFF, SOI)):
        raise ScanError("damaged JPEG: it does not begin with a start of image")
    while True:
        if data[position : position + 1] != b"\xff":
            found = _MARKER.search(data, position)
            if found is None:
                raise ScanError(f"damaged JPEG: no marker at byte {position}")
            position = found.start()
        while data[position : position + 1] == b"\xff":
            position += 1
        marker = data[position] if position < len(data) else 0
        if marker == EOI:
            return
        length = int.from_bytes(data[position + 1 : position + 3], "big")
        start, position = position + 3, position + 1 + length
        if length < 2 or position > len(data) or marker < 0xC0 or 0xD0 <= marker <= SOI:
            raise ScanError(f"damaged JPEG: a segment {marker:#x} of {length} bytes")
        body, end = view[start:position], position
        if marker == SOS:
            found = _END_OF_SCAN.search(data, position)
            if found is None:
                raise ScanError("damaged JPEG: it is cut short")
            end = found.start()
        yield Segment(marker, body, view[position:end])
        position = end


def read_frame(data: bytes) -> Frame:
    """Read the frame header. Raises ScanError if there is none, or headers are damaged."""
    for segment in segments(data):
        if segment.marker in FRAMES:
            return _read_frame(segment)
        if segment.marker == _JPEG_LS:
            raise ScanError("JPEG-LS is not supported")
        if segment.marker == SOS:
            break
    raise ScanError("damaged JPEG: there is no frame header")


def has_more_pictures(data: bytes) -> bool:
    """Whether other JPEGs follow the first: whether it has the index of an MPO (CIPA DC-007)."""
    try:
        head = itertools.takewhile(lambda segment: segment.marker != SOS, segments(data))
        return any(segment.marker == 0xE2 and segment.body[:4] == b"MPF\0" for segment in head)
    except ScanError:  # of damage the decoder tells
        return False


def bare(data: bytes) -> bytes:
    """A JPEG of nothing but what its picture is decoded from: no metadata, no comments, no stray bytes between them."""
    kept = [segment for segment in segments(data) if _is_decisive(segment)]
    parts = [part for segment in kept for part in (write_segment(segment.marker, segment.body), segment.coded)]
    return b"".join([bytes((0xFF, SOI)), *parts, bytes((0xFF, EOI))])


def _is_decisive(segment: Segment) -> bool:
    if segment.marker in _BEGINNINGS:
        return bytes(segment.body[:5]).startswith(_BEGINNINGS[segment.marker])
    return segment.marker in FRAMES or segment.marker in CODING


def _read_frame(segment: Segment) -> Frame:
    body = segment.body
    if len(body) < 9 or len(body) != 6 + 3 * body[5]:
        raise ScanError("damaged JPEG: a frame header of the wrong length")
    components = tuple(
        Component(body[at], body[at + 1] >> 4, body[at + 1] & 15, body[at + 2]) for at in range(6, len(body), 3)
    )
    if len({part.name for part in components}) < len(components):
        raise ScanError("damaged JPEG: two components of one name")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return Frame(segment.marker, body[0], height, width, components)


def read_plane(data: bytes) -> Plane:
    """Read the first component of a JPEG. Raises ScanError if headers are damaged or Huffman tables are missing."""
    frame: Frame | None = None
    tables: dict[int, bytes] = {}
    huffman: set[int] = set()
    table = None
    scans = []
    interleaved = False
    for segment in segments(data):
        if segment.marker in FRAMES and frame is None:
            frame = _read_frame(segment)
        elif segment.marker == DQT:
            tables.update(_read_tables(segment.body))
        elif segment.marker in (DHT, DRI):
            scans.append(segment)
            huffman.update(_huffman_tables(segment) if segment.marker == DHT else ())
        elif segment.marker == SOS and frame is not None:
            names = _scan_components(segment.body)
            if not huffman.issuperset(_needed_tables(segment.body)):
                raise ScanError("a JPEG without Huffman tables of its own: its luma cannot be carried over")
            if frame.components[0].name in names:
                # T.81, B.2.4.1: a later table of the same number is for components that begin later.
                table = table or tables.get(frame.components[0].table)
                scans.append(segment)
                interleaved |= len(names) > 1
    if frame is None or table is None:
        raise ScanError("damaged JPEG: the frame header, the scans or the quantisation table of the luma is missing")
    return Plane(frame, table, scans, interleaved)


def is_complete(plane: Plane) -> bool:
    """Whether a progressive plane has all bits of all its coefficients (T.81, B.2.3: Ss, Se and Al)."""
    missing = dict.fromkeys(range(64), 1)
    for segment in plane.scans:
        if segment.marker == SOS:
            first, last, bits = segment.body[-3:]
            missing.update(dict.fromkeys(range(first, last + 1), bits & 15))
    return plane.frame.marker != PROGRESSIVE or not any(missing.values())


def _read_tables(body: memoryview) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        size = 128 if body[at] >> 4 else 64
        if len(body) < at + 1 + size:
            raise ScanError("damaged JPEG: a quantisation table is cut short")
        yield body[at] & 15, bytes(body[at + 1 : at + 1 + size])
        at += 1 + size


def _huffman_tables(segment: Segment) -> Iterator[int]:
    """The class (0x00 DC, 0x10 AC) plus number of each table in a segment (T.81, B.2.4.2)."""
    body, at = segment.body, 0
    while at < len(body):
        yield body[at]
        at += 17 + sum(body[at + 1 : at + 17])


def _needed_tables(body: memoryview) -> Iterator[int]:
    """The same of each Huffman table that a scan refers to; refinement of DC needs none (T.81, B.2.3 and G.1.2)."""
    first, last, bits = body[-3:]
    for choice in body[2 : 1 + 2 * body[0] : 2]:
        if first == 0 and bits >> 4 == 0:
            yield choice >> 4
        if last > 0:
            yield 0x10 | choice & 15


def _scan_components(body: memoryview) -> list[int]:
    if len(body) < 1 or len(body) != 4 + 2 * body[0]:
        raise ScanError("damaged JPEG: a scan header of the wrong length")
    return list(body[1 : 1 + 2 * body[0] : 2])


def write_segment(marker: int, body: bytes | memoryview) -> bytes:
    """Put the marker and the length before the body of a segment."""
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + bytes(body)


def rename_component(segment: Segment, name: int) -> Segment:
    """A scan of one component under another name; other segments as they are."""
    if segment.marker != SOS:
        return segment
    body = bytes((1, name)) + bytes(segment.body[2:])
    return segment._replace(body=memoryview(body))
