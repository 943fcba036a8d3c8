"""Colour for a JPEG whose luma stays bit for bit what it is.

A JPEG may hold each component in scans of its own (ITU-T T.81, A.2.2: a scan of one component is its blocks from left
to right and top to bottom, without padding). So the luma scans of a gray JPEG are, byte for byte, also the luma scans
of a colour JPEG: they are carried over as they are, with the quantisation table, and the scans of two chroma planes
follow. Only where a source interleaves luma with its own chroma are the luma's quantised coefficients first written as
a gray JPEG, by libjpeg's coefficient interface.

The chroma is always 4:2:0 of the luma, whatever sampling the source has: luma blocks do not depend on it.
"""

import functools
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jpeglib
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from colornet.errors import ScanError, SettingsError, one_line

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_CODING = (_DQT, _DHT, _DRI, _SOS)
# What ends the coded data of a scan: a marker that is neither a stuffed zero, nor a restart, nor filling.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JFIF = b"JFIF\0" + bytes((1, 1, 0, 0, 1, 0, 1, 0, 0))
"""Version 1.1, square pixels, no resolution, no thumbnail."""


class _Segment(NamedTuple):
    marker: int
    body: memoryview
    coded: memoryview
    """What follows the header of a scan; empty for other segments."""


class _Component(NamedTuple):
    name: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class _Frame:
    marker: int
    bits: int
    height: int
    width: int
    components: tuple[_Component, ...]


@dataclass(frozen=True)
class _Plane:
    """The first component of a JPEG, as it is coded."""

    frame: _Frame
    table: bytes
    """64 steps of the quantisation, of 1 byte each or of 2, in zigzag order."""
    scans: list[_Segment]
    """Huffman tables, restart intervals and scans, in their order; of the scans only those of this component."""
    interleaved: bool
    """Whether a scan holds other components beside this one."""


def keeps_luma(data: bytes) -> bool:
    """Tell whether the luma of a JPEG can be carried over. Only headers are read.

    Args:
        data: an encoded JPEG; damaged or of another format is no error.

    Returns:
        True for baseline, extended and progressive Huffman JPEGs with 8 bits, gray or YCbCr with a luma that has the
        picture's full size. False for RGB, CMYK and YCCK, for lossless, hierarchical and arithmetic coding, for 12
        bits, for files that leave out their Huffman tables (frames of Motion JPEG), for progressive files that end
        before the last bit of the luma (decoders guess the rest, each in its way), and where headers are damaged.
    """
    try:
        _read_source(data)
    except ScanError:
        return False
    return True


def chroma_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the chroma planes of a picture, 4:2:0: half of each, rounded up."""
    return (height + 1) // 2, (width + 1) // 2


def recolor(data: bytes, cb: NDArray[np.uint8], cr: NDArray[np.uint8], *, quality: int) -> bytes:
    """Replace, or add, the chroma of a JPEG; the quantised luma coefficients and their table stay as they are.

    Args:
        data: an encoded JPEG for which `keeps_luma` holds.
        cb: uint8 of `chroma_shape(H, W)`, Cb by JFIF over the full range; 128 is neutral.
        cr: uint8 of the same shape, Cr.
        quality: of the chroma, 1 to 100: libjpeg's scale of the chrominance table of T.81, K.2.

    Returns:
        A JFIF file, 4:2:0, without any metadata; progressive if the source holds its luma in progressive scans of its
        own. It decodes without a warning, and to gray it gives exactly the pixels that the source gives.

    Raises:
        ScanError: if the source is damaged or its luma cannot be carried over.
        SettingsError: if the planes do not fit the picture, or there is no such quality.
    """
    if not 1 <= quality <= 100:
        raise SettingsError(f"quality must be from 1 to 100, not {quality}")
    luma = _read_source(data)
    _check_planes(luma.frame, cb, cr)
    colour = len(luma.frame.components) > 1
    if colour:
        _check_decodes(data)
    if not luma.interleaved:
        result = _with_chroma(luma, cb, cr, quality)
        if _damage(result) is None:
            return result
        if not colour:
            # What decoders let pass at the end of a file, filling behind the last block, they do not before more scans.
            _check_decodes(data)
    return _with_chroma(_separate(data, luma), cb, cr, quality)


def _with_chroma(luma: _Plane, cb: NDArray[np.uint8], cr: NDArray[np.uint8], quality: int) -> bytes:
    progressive = luma.frame.marker == _PROGRESSIVE
    return _assemble(luma, [_encode_plane(plane, quality, progressive) for plane in (cb, cr)])


def _check_decodes(data: bytes) -> None:
    damage = _damage(data)
    if damage is not None:
        raise ScanError(f"damaged JPEG: {damage}")


def _damage(data: bytes) -> str | None:
    """Decode the luma, every warning taken for an error: what is wrong, if anything is."""
    try:
        # At an eighth of the size: every coefficient is still read, and pixels are not wanted.
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return one_line(error)
    return None


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments between the first SOI and EOI. Raises ScanError where something else stands in a marker's place."""
    view, position = memoryview(data), 2
    if data[:2] != bytes((0xFF, _SOI)):
        raise ScanError("damaged JPEG: it does not begin with a start of image")
    while True:
        if data[position : position + 1] != b"\xff":
            raise ScanError(f"damaged JPEG: no marker at byte {position}")
        while data[position : position + 1] == b"\xff":
            position += 1
        marker = data[position] if position < len(data) else 0
        if marker == _EOI:
            return
        length = int.from_bytes(data[position + 1 : position + 3], "big")
        start, position = position + 3, position + 1 + length
        if length < 2 or position > len(data) or marker < 0xC0 or 0xD0 <= marker <= _SOI:
            raise ScanError(f"damaged JPEG: a segment {marker:#x} of {length} bytes")
        body, end = view[start:position], position
        if marker == _SOS:
            found = _END_OF_SCAN.search(data, position)
            if found is None:
                raise ScanError("damaged JPEG: it is cut short")
            end = found.start()
        yield _Segment(marker, body, view[position:end])
        position = end


def _read_frame(segment: _Segment) -> _Frame:
    body = segment.body
    if len(body) < 9 or len(body) != 6 + 3 * body[5]:
        raise ScanError("damaged JPEG: a frame header of the wrong length")
    components = tuple(
        _Component(body[at], body[at + 1] >> 4, body[at + 1] & 15, body[at + 2]) for at in range(6, len(body), 3)
    )
    if len({part.name for part in components}) < len(components):
        raise ScanError("damaged JPEG: two components of one name")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return _Frame(segment.marker, body[0], height, width, components)


def _read_source(data: bytes) -> _Plane:
    """Read the luma of a source. Raises ScanError if it cannot be carried over."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        raise ScanError(f"damaged JPEG: {one_line(error)}") from error
    if colorspace not in ("Gray", "YCbCr"):
        raise ScanError(f"the luma of a JPEG in {colorspace} cannot be carried over")
    luma = _read_plane(data)
    frame, full = luma.frame, luma.frame.components[0]
    if frame.marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE) or frame.bits != 8:
        raise ScanError(f"the luma of a JPEG with {frame.bits} bits and frame {frame.marker:#x} cannot be carried over")
    if any(part.horizontal > full.horizontal or part.vertical > full.vertical for part in frame.components):
        raise ScanError("the luma of a JPEG with more chroma than luma cannot be carried over")
    if (height, width) != (frame.height, frame.width) or not _is_complete(luma):
        raise ScanError("damaged JPEG: it ends before the last bit of its luma")
    return luma


def _is_complete(plane: _Plane) -> bool:
    """Whether a progressive plane has all bits of all its coefficients (T.81, B.2.3: Ss, Se and Al)."""
    missing = dict.fromkeys(range(64), 1)
    for segment in plane.scans:
        if segment.marker == _SOS:
            first, last, bits = segment.body[-3:]
            missing.update(dict.fromkeys(range(first, last + 1), bits & 15))
    return plane.frame.marker != _PROGRESSIVE or not any(missing.values())


def _read_plane(data: bytes) -> _Plane:
    frame: _Frame | None = None
    tables: dict[int, bytes] = {}
    huffman: set[int] = set()
    table = None
    scans = []
    interleaved = False
    for segment in _segments(data):
        if segment.marker in _FRAMES and frame is None:
            frame = _read_frame(segment)
        elif segment.marker == _DQT:
            tables.update(_read_tables(segment.body))
        elif segment.marker in (_DHT, _DRI):
            scans.append(segment)
            huffman.update(_huffman_tables(segment) if segment.marker == _DHT else ())
        elif segment.marker == _SOS and frame is not None:
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
    return _Plane(frame, table, scans, interleaved)


def _read_tables(body: memoryview) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        size = 128 if body[at] >> 4 else 64
        if len(body) < at + 1 + size:
            raise ScanError("damaged JPEG: a quantisation table is cut short")
        yield body[at] & 15, bytes(body[at + 1 : at + 1 + size])
        at += 1 + size


def _huffman_tables(segment: _Segment) -> Iterator[int]:
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


def _check_planes(frame: _Frame, cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> None:
    shape = chroma_shape(frame.height, frame.width)
    for name, plane in (("Cb", cb), ("Cr", cr)):
        if plane.shape != shape or plane.dtype != np.uint8:
            raise SettingsError(f"{name} must be uint8 of {shape}, not {plane.dtype} of {plane.shape}")


def _separate(data: bytes, luma: _Plane) -> _Plane:
    """Take the luma out of scans that hold other components too; the table stays the source's own."""
    gray = _read_plane(_write_gray(_luma_coefficients(_bare(data), luma.frame), luma.frame))
    marker = _EXTENDED if luma.frame.marker == _EXTENDED or len(luma.table) == 128 else _BASELINE
    frame = _Frame(marker, 8, luma.frame.height, luma.frame.width, luma.frame.components[:1])
    return _Plane(frame, luma.table, [_renamed(segment, frame.components[0].name) for segment in gray.scans], False)


def _bare(data: bytes) -> bytes:
    """A JPEG without metadata and comments."""
    kept = [segment for segment in _segments(data) if segment.marker in _FRAMES or segment.marker in _CODING]
    parts = [part for segment in kept for part in (_segment(segment.marker, segment.body), segment.coded)]
    return b"".join([bytes((0xFF, _SOI)), *parts, bytes((0xFF, _EOI))])


def _luma_coefficients(data: bytes, frame: _Frame) -> NDArray[np.int16]:
    """(rows of blocks, columns of blocks, 8, 8) int16: the quantised luma coefficients."""
    # Said to be gray, so that only the first component is copied. jpeglib.read_dct would decode all pixels as well, and
    # keep what it finds in global variables, which threads share.
    source = jpeglib.DCTJPEG(
        path="JPEG",
        content=data,
        height=frame.height,
        width=frame.width,
        block_dims=np.array([[-(-frame.height // 8), -(-frame.width // 8)]]),
        samp_factor=np.array([[1, 1]]),
        markers=[],
        huffmans=[],
        jpeg_color_space=jpeglib.Colorspace.JCS_GRAYSCALE,
        progressive_mode=False,
        num_scans=1,
        Y=None,
        Cb=None,
        Cr=None,
        K=None,
        qt=None,
        quant_tbl_no=None,
    )
    try:
        return source.Y
    except OSError as error:
        raise ScanError(f"damaged JPEG: {one_line(error)}") from error


def _write_gray(coefficients: NDArray[np.int16], frame: _Frame) -> bytes:
    if not _is_codable(coefficients.reshape(-1, 64)):
        raise ScanError("damaged JPEG: its coefficients are out of range")
    gray = jpeglib.from_dct(coefficients, qt=np.ones((1, 8, 8), np.uint16))
    gray.height, gray.width = frame.height, frame.width
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gray.jpeg"
        try:
            gray.write_dct(str(path))
        except OSError as error:
            raise ScanError(f"damaged JPEG: {one_line(error)}") from error
        return path.read_bytes()


def _is_codable(blocks: NDArray[np.int16]) -> bool:
    """Whether 8-bit Huffman coding has codes for (N, 64) coefficients: AC of 10 bits, DC differences of 11 (T.81, F.1).

    jpeglib would find out too, but leave a temporary file behind.
    """
    if _is_below(blocks, 1024):
        return True
    return _is_below(blocks[:, 1:], 1024) and _is_below(np.diff(blocks[:, 0].astype(np.int32), prepend=0), 2048)


def _is_below(values: NDArray, bound: int) -> bool:
    return bool(values.min() > -bound and values.max() < bound)


def _encode_plane(plane: NDArray[np.uint8], quality: int, progressive: bool) -> _Plane:
    buffer = io.BytesIO()
    Image.fromarray(plane).save(
        buffer, "JPEG", qtables=[_chroma_table(quality)], optimize=True, progressive=progressive
    )
    return _read_plane(buffer.getvalue())


@functools.cache
def _chroma_table(quality: int) -> tuple[int, ...]:
    """The chrominance table of libjpeg at this quality, row by row."""
    sample = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8), quality=quality, colorsubsampling="420")
    with Image.open(io.BytesIO(sample), formats=["JPEG"]) as image:
        return tuple(image.quantization[1])  # type: ignore[attr-defined]


def _assemble(luma: _Plane, chroma: list[_Plane]) -> bytes:
    frame, deep = luma.frame, len(luma.table) == 128
    size = frame.height.to_bytes(2, "big") + frame.width.to_bytes(2, "big")
    parts: list[bytes | memoryview] = [bytes((0xFF, _SOI)), _segment(0xE0, _JFIF)]
    parts.append(_segment(_DQT, bytes((0x10 if deep else 0x00,)) + luma.table))
    parts.append(_segment(_DQT, b"\x01" + chroma[0].table))
    parts.append(_segment(frame.marker, bytes((8,)) + size + bytes((3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))))
    for name, plane in enumerate((luma, *chroma), start=1):
        # A restart interval holds until the next one; the planes' own follow, if they have any.
        parts.append(_segment(_DRI, b"\0\0") if name == 2 and _restarts(luma) else b"")
        for scan in plane.scans:
            scan = _renamed(scan, name)
            parts += _segment(scan.marker, scan.body), scan.coded
    parts.append(bytes((0xFF, _EOI)))
    return b"".join(parts)


def _restarts(plane: _Plane) -> bool:
    return any(segment.marker == _DRI for segment in plane.scans)


def _renamed(segment: _Segment, name: int) -> _Segment:
    """A scan of one component under another name; other segments as they are."""
    if segment.marker != _SOS:
        return segment
    body = bytes((1, name)) + bytes(segment.body[2:])
    return segment._replace(body=memoryview(body))


def _segment(marker: int, body: bytes | memoryview) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + bytes(body)
