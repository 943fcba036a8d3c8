"""BMP: through Pillow, and what that leaves out: channels at any bits of a pixel, and OS/2's headers of odd lengths."""

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from colornet.codecs import pillow, pixels
from colornet.codecs.scan import Scan
from colornet.errors import ScanError

_FILE_HEADER, _CORE_HEADER, _INFO_HEADER = 14, 12, 40
_OS2_HEADERS = (16, 48)
"""Lengths of OS/2's header that Pillow does not know: it may be cut off behind any field."""
_BITFIELDS = 3


class Header(NamedTuple):
    """What the headers say."""

    length: int
    """Of the second header, which tells the versions apart."""
    width: int
    height: int
    bottom_up: bool
    bits: int
    """Of a pixel."""
    compression: int


def read_header(data: bytes) -> Header:
    """Read the headers; raises struct.error if they are cut short."""
    (length,) = struct.unpack_from("<I", data, _FILE_HEADER)
    if length == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<4H", data, 18)
        return Header(length, width, height, True, bits, 0)
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    compression = struct.unpack_from("<I", data, 30)[0] if length >= _INFO_HEADER else 0
    return Header(length, width, abs(height), height > 0, bits, compression)


def decode(data: bytes, header: Header) -> Scan:
    """Decode; raises ScanError, and whatever the decoders raise on damage. Alpha is left aside: few writers mean it."""
    if header.compression == _BITFIELDS and header.bits in (16, 32):
        return pixels.from_channels(_read_bitfields(data, header))
    if header.length in _OS2_HEADERS:
        return pixels.from_channels(imagecodecs.bmp_decode(data))
    try:
        image = pillow.open_bmp(data)
    except OSError as error:
        if "Unsupported" in str(error):
            raise ScanError(f"BMP of this kind is not supported: {error}") from error
        raise
    with image:
        return pixels.from_channels(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))


def _read_bitfields(data: bytes, header: Header) -> NDArray[np.uint8]:
    """(H, W, 3): the bits of a pixel under the masks of red, green and blue, each over its full range."""
    (start,) = struct.unpack_from("<I", data, 10)
    masks = struct.unpack_from("<3I", data, _FILE_HEADER + _INFO_HEADER)
    if not all(masks) or max(masks) >> header.bits:
        raise ScanError(f"BMP with the masks {', '.join(f'{mask:#x}' for mask in masks)} is not supported")
    in_row = -(-header.width * header.bits // 32) * 32 // header.bits
    kind = np.dtype("<u2" if header.bits == 16 else "<u4")
    rows = np.frombuffer(data, kind, in_row * header.height, start).reshape(header.height, in_row)[:, : header.width]
    rgb = np.dstack([_under(rows.astype(np.uint32), mask) for mask in masks])
    return rgb[::-1] if header.bottom_up else rgb


def _under(rows: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    shift = (mask & -mask).bit_length() - 1
    return np.rint(((rows & np.uint32(mask)) >> np.uint32(shift)) * (255 / (mask >> shift))).astype(np.uint8)
