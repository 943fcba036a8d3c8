"""L* joined with a*b*: the project's own core, one pass over the full-size picture.

For each pixel it brings a*b* up from the network's small copy, converts CIE-LAB to sRGB, brings colours outside the
gamut in by reducing chroma at constant L* and hue, and rounds. What is written has the L* of what was read, up to the
rounding of its own depth; where a* = b* = 0 and the source is gray, it has the source's codes.

Formulas: CIE 15 (LAB), IEC 61966-2-1 (sRGB primaries and transfer), with the numbers of `colornet.color.srgb`.
"""

import functools
from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from colornet.color.srgb import (
    EPSILON,
    F_OFFSET,
    F_SCALE,
    PRIMARIES,
    SLOPE,
    WHITE,
    root_from_lightness,
    srgb_from_linear,
)

# Rows give linear R, G, B from X/Xn, Y/Yn, Z/Zn.
_TO_LINEAR = np.linalg.inv(PRIMARIES) * WHITE
_BISECTIONS = 14  # leaves 1/16384 of the chroma: below the rounding of 16 bits
_GAMUT_SLACK = 1e-5
_ENCODE_STEPS = 65536


def lab_to_srgb(
    codes: NDArray[np.uint8] | NDArray[np.uint16],
    lightness: NDArray[np.float32],
    colour: NDArray[np.float32],
    bits: int,
    *,
    first_row: int = 0,
    height: int | None = None,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Join full-size luminance with small colour.

    Args:
        codes: (H, W), uint8 or uint16: the picture, or a band of its rows.
        lightness: float32, L* in [0, 100] of each code.
        colour: (2, h, w) float32, a* and b* in [-128, 127]; or (4, h, w), their slopes per unit of L* and then their
            offsets, as `guided_upsampling` makes them. Its corners are the corners of the whole picture. Bilinear
            interpolation brings it to full size.
        bits: 8 or 16.
        first_row: where in the picture the band begins.
        height: rows of the whole picture, if `codes` is a band.

    Returns:
        (H, W, 3) sRGB, uint8 or uint16 over the full range of the type. L* of every pixel is that of `codes` up to
        rounding.
    """
    root = root_from_lightness(lightness).astype(np.float32)
    planes = np.ascontiguousarray(_lines_in_root(colour), dtype=np.float32)
    top, bottom, drop = _positions(height or codes.shape[0], planes.shape[1])
    band = slice(first_row, first_row + codes.shape[0])
    vertical = top[band], bottom[band], drop[band]
    rgb = np.empty((*codes.shape, 3), np.uint8 if bits == 8 else np.uint16)
    _lab_to_srgb(codes, root, planes, vertical, _encode_table_8(), _encode_table(bits), rgb)
    return rgb


def _lines_in_root(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn lines in L* into lines in f(Y/Yn) = (L* + 16) / 116, which is what the kernel has at hand."""
    if len(colour) == 2:
        return colour
    slope, offset = colour[:2], colour[2:]
    return np.concatenate([F_SCALE * slope, offset - F_OFFSET * slope])


@functools.cache
def _encode_table(bits: int) -> NDArray[np.float32]:
    """The sRGB transfer function on a grid of linear light, in output levels; one more for interpolation."""
    grid = np.minimum(np.arange(_ENCODE_STEPS + 2) / _ENCODE_STEPS, 1.0)
    return (srgb_from_linear(grid) * (2**bits - 1)).astype(np.float32)


@functools.cache
def _encode_table_8() -> NDArray[np.uint8]:
    """The same, rounded: on so fine a grid 8 bits need no interpolation."""
    return np.rint(_encode_table(8)).astype(np.uint8)


_Positions: TypeAlias = tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float32]]

_M = tuple(tuple(np.float32(value) for value in row) for row in _TO_LINEAR)
(_RX, _RY, _RZ), (_GX, _GY, _GZ), (_BX, _BY, _BZ) = _M
_EPSILON_32, _SLOPE_32 = np.float32(EPSILON), np.float32(SLOPE)
_LOWEST, _HIGHEST = np.float32(-_GAMUT_SLACK), np.float32(1 + _GAMUT_SLACK)
_STEPS_32, _HALF = np.float32(_ENCODE_STEPS), np.float32(0.5)


@numba.njit(inline="always")
def _cube(root: np.float32) -> np.float32:
    """Inverse of the CIE f: the relative tristimulus value. Its line is the tangent of its cube, so no branch."""
    bent = max(root, _EPSILON_32)
    return bent * bent * bent + _SLOPE_32 * (root - bent)


@numba.njit(inline="always")
def _linear_rgb(root: np.float32, a: np.float32, b: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Linear sRGB, unclipped, of L* (as f of Y/Yn) and a*, b*."""
    x = _cube(root + a * np.float32(0.002))
    y = _cube(root)
    z = _cube(root - b * np.float32(0.005))
    red = _RX * x + _RY * y + _RZ * z
    green = _GX * x + _GY * y + _GZ * z
    blue = _BX * x + _BY * y + _BZ * z
    return red, green, blue


@numba.njit(inline="always")
def _outside_gamut(red: np.float32, green: np.float32, blue: np.float32) -> np.bool:
    return (min(min(red, green), blue) < _LOWEST) | (max(max(red, green), blue) > _HIGHEST)


@numba.njit(nogil=True, cache=True)
def _into_gamut(root: np.float32, a: np.float32, b: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Linear sRGB of the most colourful (t a*, t b*), 0 <= t <= 1, that sRGB can show at this L*."""
    inside, outside = np.float32(0), np.float32(1)
    for _ in range(_BISECTIONS):
        middle = (inside + outside) * _HALF
        red, green, blue = _linear_rgb(root, a * middle, b * middle)
        if _outside_gamut(red, green, blue):
            outside = middle
        else:
            inside = middle
    return _linear_rgb(root, a * inside, b * inside)


@numba.njit(nogil=True, cache=True)
def _lab_to_srgb(
    codes: NDArray[Any],
    root_of_code: NDArray[np.float32],
    planes: NDArray[np.float32],
    vertical: _Positions,
    table_8: NDArray[np.uint8],
    table_16: NDArray[np.float32],
    rgb: NDArray[Any],
) -> None:
    """Row by row, in passes over buffers that stay in the cache: loops so simple that the compiler vectorises them."""
    height, width = codes.shape
    count, small_width = planes.shape[0], planes.shape[2]
    top, bottom, drop = vertical
    left, right, share = _positions(width, small_width)
    small = np.empty(small_width, np.float32)
    line = np.empty((4, width), np.float32)
    a, b, root = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    linear = np.empty((3, width), np.float32)
    red, green, blue = linear[0], linear[1], linear[2]
    outside = np.empty(width, np.bool_)
    for y in range(height):
        for plane in range(count):
            for x in range(small_width):
                above, below = planes[plane, top[y], x], planes[plane, bottom[y], x]
                small[x] = above + drop[y] * (below - above)
            for x in range(width):
                line[plane, x] = small[left[x]] + share[x] * (small[right[x]] - small[left[x]])
        for x in range(width):
            root[x] = root_of_code[codes[y, x]]
        if count == 2:
            a[:], b[:] = line[0], line[1]
        else:
            for x in range(width):
                a[x] = line[0, x] * root[x] + line[2, x]
                b[x] = line[1, x] * root[x] + line[3, x]
        for x in range(width):
            red[x], green[x], blue[x] = _linear_rgb(root[x], a[x], b[x])
        for x in range(width):
            outside[x] = _outside_gamut(red[x], green[x], blue[x])
        for x in range(width):
            if outside[x]:
                red[x], green[x], blue[x] = _into_gamut(root[x], a[x], b[x])
        if rgb.itemsize == 1:
            _encode_row_8(linear, table_8, rgb[y])
        else:
            _encode_row_16(linear, table_16, rgb[y])


@numba.njit(nogil=True, cache=True)
def _positions(length: int, small_length: int) -> _Positions:
    """For bilinear interpolation along one axis: the two small pixels beside each, and the share of the second."""
    before, after = np.empty(length, np.uint32), np.empty(length, np.uint32)
    share = np.empty(length, np.float32)
    for index in range(length):
        position = min(max((index + 0.5) * small_length / length - 0.5, 0.0), small_length - 1.0)
        before[index] = np.uint32(position)
        after[index] = min(before[index] + 1, small_length - 1)
        share[index] = position - before[index]
    return before, after, share


@numba.njit(inline="always")
def _grid_position(linear: np.float32) -> np.float32:
    return min(max(linear, np.float32(0)), np.float32(1)) * _STEPS_32


@numba.njit(nogil=True, cache=True)
def _encode_row_8(linear: NDArray[np.float32], table: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> None:
    """Apply the sRGB transfer function to (3, W) linear light and round: nearest point of the grid."""
    width = rgb.shape[0]
    index = np.empty(width, np.uint32)
    for channel in range(3):
        for x in range(width):
            index[x] = np.int32(_grid_position(linear[channel, x]) + _HALF)
        for x in range(width):
            rgb[x, channel] = table[index[x]]


@numba.njit(nogil=True, cache=True)
def _encode_row_16(linear: NDArray[np.float32], table: NDArray[np.float32], rgb: NDArray[np.uint16]) -> None:
    """Apply the sRGB transfer function to (3, W) linear light and round: between two points of the grid."""
    width = rgb.shape[0]
    index, part = np.empty(width, np.uint32), np.empty(width, np.float32)
    for channel in range(3):
        for x in range(width):
            position = _grid_position(linear[channel, x])
            whole = np.int32(position)
            index[x] = whole
            part[x] = position - np.float32(whole)
        for x in range(width):
            low, high = table[index[x]], table[index[x] + np.uint32(1)]
            rgb[x, channel] = np.int32(low + part[x] * (high - low) + _HALF)
