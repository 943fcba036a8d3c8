"""BMPs of all headers and bit fields that archives hold."""

import struct

import numpy as np
import pytest
import skimage.color

from colornet.codecs import Scan, decode, open_source
from colornet.errors import ScanError
from tests import pictures

GRAY = pictures.gray(20, 31)
COLOUR = pictures.colour(20, 31)
BITFIELDS = 3


def bmp(header: bytes, behind: bytes, rows: np.ndarray) -> bytes:
    """Put headers, masks or palette, and rows from the bottom up together."""
    padded = b"".join(row.tobytes() + b"\0" * (-row.nbytes % 4) for row in rows[::-1])
    start = 14 + len(header) + len(behind)
    return b"BM" + struct.pack("<IHHI", start + len(padded), 0, 0, start) + header + behind + padded


def info(length: int, bits: int, compression: int = 0, masks: bytes = b"", height: int = 20) -> bytes:
    """A header of Windows' kind; a shorter one of OS/2's is cut off."""
    whole = struct.pack("<IiiHHIIiiII", length, 31, height, 1, bits, compression, 0, 0, 0, 0, 0) + masks
    return whole.ljust(length, b"\0")[:length]


def lightness_of(scan: Scan) -> np.ndarray:
    return scan.lightness[scan.codes]


def lightness(rgb: np.ndarray) -> np.ndarray:
    return skimage.color.rgb2lab(rgb)[..., 0]


@pytest.mark.parametrize(
    ("bits", "fields"),
    [
        (16, [(10, 5), (5, 5), (0, 5)]),
        (16, [(11, 5), (5, 6), (0, 5)]),
        (16, [(8, 4), (4, 4), (0, 4)]),
        (16, [(0, 5), (5, 6), (11, 5)]),
        (32, [(0, 8), (8, 8), (16, 8)]),
        (32, [(24, 8), (16, 8), (8, 8)]),
        (32, [(20, 10), (10, 10), (0, 10)]),
    ],
)
@pytest.mark.parametrize("length", [40, 52, 108])
def test_bit_fields_are_read_wherever_they_lie(bits, fields, length):
    levels = [np.rint(COLOUR[..., channel] / 255 * (2**size - 1)) for channel, (_, size) in enumerate(fields)]
    packed = sum(level.astype(np.uint32) << at for level, (at, _) in zip(levels, fields, strict=True))
    masks = struct.pack("<3I", *((2**size - 1) << at for at, size in fields))
    inside, behind = (masks, b"") if length > 40 else (b"", masks)
    data = bmp(info(length, bits, BITFIELDS, inside), behind, packed.astype(f"<u{bits // 8}"))
    expected = np.dstack(
        [np.rint(level / (2**size - 1) * 255) for level, (_, size) in zip(levels, fields, strict=True)]
    )
    assert np.abs(lightness_of(decode(data)) - lightness(expected.astype(np.uint8))).max() < 0.01
    with pytest.raises(ScanError, match="damaged BMP"):
        decode(data[:-9])


@pytest.mark.parametrize("length", [12, 16, 40, 48, 64, 124])
def test_headers_of_windows_and_os2_of_any_length(length):
    head = struct.pack("<IHHHH", 12, 31, 20, 1, 8) if length == 12 else info(length, 8)
    palette = b"".join(bytes((level,) * 3) + b"\0" * (length > 12) for level in range(256))
    np.testing.assert_array_equal(decode(bmp(head, palette, GRAY)).codes, GRAY)
    head = struct.pack("<IHHHH", 12, 31, 20, 1, 24) if length == 12 else info(length, 24)
    data = bmp(head, b"", np.ascontiguousarray(COLOUR[..., ::-1]).reshape(20, -1))
    assert np.abs(lightness_of(decode(data)) - lightness(COLOUR)).max() < 0.01


def test_rows_from_the_top_down():
    packed = COLOUR.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    masks = struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF)
    data = bmp(info(40, 32, BITFIELDS, height=-20), masks, packed[::-1].astype("<u4"))
    assert np.abs(lightness_of(decode(data)) - lightness(COLOUR)).max() < 0.01


def test_what_is_not_read_is_unsupported_and_not_damaged():
    with pytest.raises(ScanError, match=r"BMP of this kind is not supported: .* depth \(2\)"):
        decode(bmp(info(40, 2), b"\0" * 16, np.zeros((20, 8), np.uint8)))
    with pytest.raises(ScanError, match="masks 0x0, 0xff00, 0xff is not supported"):
        decode(bmp(info(40, 16, BITFIELDS), struct.pack("<3I", 0, 0xFF00, 0xFF), np.zeros((20, 31), np.uint16)))
    with pytest.raises(ScanError, match="damaged BMP"):
        open_source(b"BM" + b"\0" * 10)
