"""Whether LZW data of TIFF can be decoded: where a code means nothing, imagecodecs reads memory that nobody wrote."""

import numba
import numpy as np
from numpy.typing import NDArray

_CLEAR, _END, _FIRST = 256, 257, 258
_MOST_BITS = 12


def is_sound(data: bytes | bytearray) -> bool:
    """Tell whether each code has a meaning when it comes: a byte's own, or that of a string that was seen before.

    Data that end early are sound as far as they go.

    Args:
        data: of one strip or tile, most significant bit first; or in the order that writers had before TIFF 5.0, which
            is known by its first two bytes.

    Source: TIFF 6.0, section 13.
    """
    codes = np.frombuffer(data, np.uint8)
    is_old = len(codes) > 1 and codes[0] == 0 and codes[1] & 1 == 1
    return bool(_has_meanings(codes, is_old))


@numba.njit(nogil=True, cache=True)
def _has_meanings(data: NDArray[np.uint8], is_old: bool) -> bool:
    bits, place, begins, size = 9, 0, True, _FIRST
    last = 1 if is_old else 2  # codes get longer when so many of this length are left: one too early since TIFF 5.0
    while place + bits <= 8 * len(data):
        code = _read(data, place, bits, is_old)
        place += bits
        if code == _END:
            return True
        if code == _CLEAR:
            bits, begins, size = 9, True, _FIRST
        elif begins:
            if code > _CLEAR:
                return False
            begins = False
        else:
            if code > size:
                return False
            size = min(size + 1, 1 << _MOST_BITS)
            if size > (1 << bits) - last and bits < _MOST_BITS:
                bits += 1
    return True


@numba.njit(nogil=True, cache=True)
def _read(data: NDArray[np.uint8], place: int, bits: int, is_old: bool) -> int:
    """Read a code of 9 to 12 bits, which lie in two or three bytes."""
    first = place >> 3
    window = 0
    for offset in range(3):
        byte = int(data[first + offset]) if first + offset < len(data) else 0
        window |= byte << (8 * offset if is_old else 16 - 8 * offset)
    shift = place & 7 if is_old else 24 - (place & 7) - bits
    return (window >> shift) & ((1 << bits) - 1)
