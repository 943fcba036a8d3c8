"""JPEG 2000: what a JP2's header says of its channels, and their samples as a Scan.

Sources: ISO/IEC 15444-1, annexes A (SIZ) and I (colr, cdef), and 15444-2, table M.25 (numbers of colour spaces).
"""

import struct
from dataclasses import replace
from typing import NamedTuple

import imagecodecs
import numpy as np

from colornet.codecs import icc_profiles, pixels
from colornet.codecs.scan import Scan
from colornet.errors import ScanError
from colornet.metadata.containers import jp2
from colornet.metadata.ifd import DamagedError

_SIZ = b"\xff\x4f\xff\x51"
_COLOURS = {16: 3, 17: 1, 18: 3, 12: 4}
"""Channels of the colour spaces that are read, by their numbers: sRGB, gray, sYCC (the decoder makes RGB of it)
and CMYK."""
_CMYK = 12
_OF_PROFILES = {b"GRAY": 17, b"RGB ": 16, b"CMYK": _CMYK}
_NAMES = {0: "bilevel", 1: "YCbCr(1)", 3: "YCbCr(2)", 4: "YCbCr(3)", 9: "PhotoYCC", 11: "CMY", 13: "YCCK"}
_NAMES |= {14: "CIELab", 15: "bilevel(2)", 19: "CIEJab", 20: "e-sRGB", 21: "ROMM-RGB", 24: "e-sYCC"}
_ENUMERATED, _PROFILES = 1, (2, 3)
_COLOUR, _PREMULTIPLIED, _UNSPECIFIED = 0, 2, 0xFFFF
_MOST_EXTRA = 2


class Header(NamedTuple):
    """What is known before decoding."""

    width: int
    height: int
    bits: int
    """Of a sample, 1 to 16."""
    space: int | None
    """Number of the colour space, one of _COLOURS; None where the file does not say: bare codestreams."""
    extra: tuple[int, ...]
    """Types of the channels behind those of colour, by cdef; where there is none, one more channel is alpha."""


def read_header(data: bytes) -> Header:
    """Read size, depth and channels of a JP2 file, or of the bare codestream that such a file wraps.

    Raises:
        ScanError: if it is damaged, or of a kind that is not read.
    """
    at = data.find(_SIZ)
    if at < 0:
        raise ScanError("damaged JPEG 2000: there is no codestream in it")
    right, bottom, left, top = struct.unpack(">4I", data[at + 8 : at + 24])
    components, depth = struct.unpack(">HB", data[at + 40 : at + 43])
    if components > 4 + _MOST_EXTRA or depth & 0x80 or (depth & 0x7F) + 1 > 16:
        raise ScanError(f"JPEG 2000 of {components} components of {depth:#x} is no picture that Colornet knows")
    space, extra = (None, ()) if at == 0 else _read_boxes(data[:at])
    return Header(right - left, bottom - top, (depth & 0x7F) + 1, space, extra)


def _read_boxes(data: bytes) -> tuple[int | None, tuple[int, ...]]:
    """The colour space and the types of extra channels, by the boxes before the codestream."""
    spaces: list[int | str] = []
    extra: tuple[int, ...] = ()
    try:
        for box in _header_boxes(data):
            body = data[box.start : box.end]
            if box.kind == b"colr":
                spaces += _space(body)
            elif box.kind == b"cdef":
                (count,) = struct.unpack_from(">H", body)
                kinds = [kind for _, kind, _ in struct.iter_unpack(">3H", body[2 : 2 + 6 * count])]
                extra = tuple(kind for kind in kinds if kind != _COLOUR)
    except (DamagedError, struct.error) as error:
        raise ScanError(f"damaged JPEG 2000: {error}") from error
    known = [space for space in spaces if space in _COLOURS]
    if spaces and not known:
        raise ScanError(f"JPEG 2000 in the colour space {_name(spaces[0])} is not supported")
    return (int(known[0]) if known else None), extra


def _header_boxes(data: bytes) -> list[jp2.Box]:
    """The boxes within jp2h; that of the codestream, which is cut off, ends the walk."""
    found: list[jp2.Box] = []
    at = 0
    while at + 8 <= len(data) and data[at + 4 : at + 8] != b"jp2c":
        box = next(jp2.boxes(data, at, len(data)))
        if box.kind == b"jp2h":
            found += jp2.boxes(data, box.start, box.end)
        at = box.end
    return found


def _space(colr: bytes) -> list[int | str]:
    """The number of the colour space that a colr box gives; of a profile for another kind of picture, its own name."""
    if colr[:1] == bytes((_ENUMERATED,)):
        return list(struct.unpack_from(">I", colr, 3))
    if colr[:1] and colr[0] in _PROFILES:
        kind = colr[19:23]
        return [_OF_PROFILES.get(kind, kind.decode("latin-1").strip() or "of a damaged profile")]
    return []


def _name(space: int | str) -> str:
    return f"{_NAMES.get(space, 'of an unknown name')} ({space})" if isinstance(space, int) else space


def decode(data: bytes, header: Header, icc: bytes | None) -> Scan:
    """Decode, by the header that `read_header` gives; raises ScanError, and whatever the decoder raises on damage."""
    try:
        samples = np.atleast_3d(pixels.widen(imagecodecs.jpeg2k_decode(data), header.bits))
    except NotImplementedError as error:
        raise ScanError(f"JPEG 2000 of this kind is not supported: {error}") from error
    channels = samples.shape[2]
    colours = _COLOURS[header.space] if header.space else 3 if channels > 2 else 1
    if channels < colours:
        colours = 1
    if channels > colours + _MOST_EXTRA:
        raise ScanError(f"JPEG 2000 of {channels} channels: expected {colours} of colour, and up to {_MOST_EXTRA} more")
    kinds = header.extra or (1,)  # the decoder has put the channels of colour first
    kinds = (kinds + (_UNSPECIFIED,) * _MOST_EXTRA)[: channels - colours]
    unknown = [colours + index for index, kind in enumerate(kinds) if kind == _UNSPECIFIED]
    opacity = next((colours + index for index, kind in enumerate(kinds) if kind != _UNSPECIFIED), None)
    colour = np.ascontiguousarray(samples[..., :colours])
    alpha = None if opacity is None else np.ascontiguousarray(samples[..., opacity])
    if alpha is not None and _PREMULTIPLIED in kinds:
        colour = pixels.divide_by_alpha(colour, alpha)
    extra = np.ascontiguousarray(samples[..., unknown]) if unknown else None
    if colours == 1:
        return replace(pixels.from_gray(colour[..., 0], alpha, icc=icc), extra=extra)
    if header.space == _CMYK:
        return replace(pixels.from_rgb(icc_profiles.cmyk_to_srgb(colour, icc), alpha), extra=extra)
    return replace(pixels.from_rgb(colour, alpha, icc=icc), extra=extra)
