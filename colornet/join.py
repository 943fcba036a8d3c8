"""The join of L* and a*b*: the project's own core, one pass over the full-size picture.

For each pixel it brings a*b* up from the network's small copy, converts CIE-LAB to sRGB, brings colours outside the
gamut in by reducing chroma at constant L* and hue, and rounds. What is written has the L* of what was read, up to the
rounding of its own depth; where a* = b* = 0 and the source is gray, it has the source's codes.

Formulas: CIE 15 (LAB), IEC 61966-2-1 (sRGB primaries and transfer). The white point is the sum of the primaries, so
that equal RGB is exactly neutral.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray

PRIMARIES = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
"""Linear sRGB to CIE XYZ, D65."""
WHITE = PRIMARIES.sum(axis=1)
# Rows give linear R, G, B from X/Xn, Y/Yn, Z/Zn.
_TO_LINEAR = np.linalg.inv(PRIMARIES) * WHITE

_EPSILON = 6.0 / 29.0
_SLOPE = 3.0 * _EPSILON**2
_BISECTIONS = 14  # leaves 1/16384 of the chroma: below the rounding of 16 bits
_GAMUT_SLACK = 1e-5
_ENCODE_STEPS = 65536


def linear_from_srgb(encoded: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the sRGB transfer function: [0, 1] to linear light in [0, 1]."""
    encoded = np.asarray(encoded, np.float64)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply the sRGB transfer function: linear light in [0, 1] to [0, 1]."""
    linear = np.asarray(linear, np.float64)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def lightness_from_luminance(luminance: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIE L* in [0, 100] of the relative luminance Y/Yn in [0, 1]."""
    luminance = np.asarray(luminance, np.float64)
    root = np.where(luminance > _EPSILON**3, np.cbrt(luminance), luminance / _SLOPE + 4.0 / 29.0)
    return 116.0 * root - 16.0


@functools.cache
def gray_lightness(bits: int) -> NDArray[np.float32]:
    """L* of each sRGB gray level: (256,) for 8 bits, (65536,) for 16 bits. Shared: do not write to it."""
    levels = 2**bits
    return lightness_from_luminance(linear_from_srgb(np.arange(levels) / (levels - 1))).astype(np.float32)


@functools.cache
def even_lightness() -> NDArray[np.float32]:
    """L* of 65,536 codes in equal steps from 0 to 100, for luminance computed from colours. Do not write to it."""
    return np.linspace(0.0, 100.0, 65536, dtype=np.float32)


def lightness_codes(rgb: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    """L* of sRGB pixels as codes into `even_lightness()`.

    Args:
        rgb: (H, W, 3), uint8 or uint16, gamma-encoded sRGB over the full range of the type.

    Returns:
        (H, W) uint16: L* times 655.35, rounded; off by at most 0.0008 L*.
    """
    levels = 2 ** (8 * rgb.itemsize)
    return _lightness_codes(rgb, linear_from_srgb(np.arange(levels) / (levels - 1)).astype(np.float32))


def join(
    codes: NDArray[np.uint8] | NDArray[np.uint16],
    lightness: NDArray[np.float32],
    ab: NDArray[np.float32],
    bits: int,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Join full-size luminance with small colour.

    Args:
        codes: (H, W), uint8 or uint16.
        lightness: (256,) or (65536,) float32, L* in [0, 100] of each code.
        ab: (2, h, w) float32, a* and b* in [-128, 127]; its corners are the corners of the full-size picture. It is
            brought to full size by bilinear interpolation.
        bits: 8 or 16.

    Returns:
        (H, W, 3) sRGB, uint8 or uint16 over the full range of the type. L* of every pixel is that of `codes` up to
        rounding.
    """
    root = ((lightness.astype(np.float64) + 16.0) / 116.0).astype(np.float32)
    planes = np.ascontiguousarray(ab.transpose(1, 2, 0), dtype=np.float32)
    rgb = np.empty((*codes.shape, 3), np.uint8 if bits == 8 else np.uint16)
    _join(codes, root, planes, _encode_table(bits), rgb)
    return rgb


@functools.cache
def _encode_table(bits: int) -> NDArray[np.float32]:
    """The sRGB transfer function on a grid of linear light, in output levels; one more for interpolation."""
    grid = np.minimum(np.arange(_ENCODE_STEPS + 2) / _ENCODE_STEPS, 1.0)
    return (srgb_from_linear(grid) * (2**bits - 1)).astype(np.float32)


_M = tuple(tuple(np.float32(value) for value in row) for row in _TO_LINEAR)
(_RX, _RY, _RZ), (_GX, _GY, _GZ), (_BX, _BY, _BZ) = _M
_EPS32, _SLOPE32, _OFFSET32 = np.float32(_EPSILON), np.float32(_SLOPE), np.float32(4.0 / 29.0)
_LOW, _HIGH = np.float32(-_GAMUT_SLACK), np.float32(1 + _GAMUT_SLACK)


@numba.njit(inline="always")
def _cube(root):
    """Inverse of the CIE f: the relative tristimulus value."""
    if root > _EPS32:
        return root * root * root
    return _SLOPE32 * (root - _OFFSET32)


@numba.njit(inline="always")
def _linear_rgb(y, root, a, b):
    """Linear sRGB, unclipped, of L* (as Y/Yn and its f) and a*, b*."""
    x = _cube(root + a * np.float32(0.002))
    z = _cube(root - b * np.float32(0.005))
    red = _RX * x + _RY * y + _RZ * z
    green = _GX * x + _GY * y + _GZ * z
    blue = _BX * x + _BY * y + _BZ * z
    return red, green, blue


@numba.njit(inline="always")
def _in_gamut(red, green, blue):
    return red >= _LOW and red <= _HIGH and green >= _LOW and green <= _HIGH and blue >= _LOW and blue <= _HIGH


@numba.njit(nogil=True, cache=True)
def _into_gamut(y, root, a, b):
    """Linear sRGB of the most colourful (t a*, t b*), 0 <= t <= 1, that sRGB can show at this L*."""
    inside, outside = np.float32(0), np.float32(1)
    for _ in range(_BISECTIONS):
        middle = (inside + outside) * np.float32(0.5)
        red, green, blue = _linear_rgb(y, root, a * middle, b * middle)
        if _in_gamut(red, green, blue):
            inside = middle
        else:
            outside = middle
    return _linear_rgb(y, root, a * inside, b * inside)


@numba.njit(inline="always")
def _encode(linear, table):
    """Look the sRGB transfer function up between two points of its grid, and round."""
    position = min(max(linear, np.float32(0)), np.float32(1)) * np.float32(_ENCODE_STEPS)
    index = np.int32(position)
    part = position - np.float32(index)
    return table[index] + part * (table[index + 1] - table[index]) + np.float32(0.5)


@numba.njit(nogil=True, cache=True)
def _join(codes, root_of_code, ab, table, rgb):
    height, width = codes.shape
    small_height, small_width = ab.shape[0], ab.shape[1]
    column = np.empty(width, np.int32)
    share = np.empty(width, np.float32)
    for x in range(width):
        position = min(max((x + 0.5) * small_width / width - 0.5, 0.0), small_width - 1.0)
        column[x] = min(int(position), max(small_width - 2, 0))
        share[x] = position - column[x]
    step = min(1, small_width - 1)
    row = np.empty((small_width, 2), np.float32)
    for y in range(height):
        position = min(max((y + 0.5) * small_height / height - 0.5, 0.0), small_height - 1.0)
        top = min(int(position), max(small_height - 2, 0))
        bottom = min(top + 1, small_height - 1)
        lower = np.float32(position - top)
        for x in range(small_width):
            row[x, 0] = ab[top, x, 0] + lower * (ab[bottom, x, 0] - ab[top, x, 0])
            row[x, 1] = ab[top, x, 1] + lower * (ab[bottom, x, 1] - ab[top, x, 1])
        for x in range(width):
            left = column[x]
            right = left + step
            part = share[x]
            a = row[left, 0] + part * (row[right, 0] - row[left, 0])
            b = row[left, 1] + part * (row[right, 1] - row[left, 1])
            root = root_of_code[codes[y, x]]
            luminance = _cube(root)
            red, green, blue = _linear_rgb(luminance, root, a, b)
            if not _in_gamut(red, green, blue):
                red, green, blue = _into_gamut(luminance, root, a, b)
            rgb[y, x, 0] = np.int32(_encode(red, table))
            rgb[y, x, 1] = np.int32(_encode(green, table))
            rgb[y, x, 2] = np.int32(_encode(blue, table))


@numba.njit(nogil=True, cache=True)
def _lightness_codes(rgb, linear):
    height, width = rgb.shape[0], rgb.shape[1]
    codes = np.empty((height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            luminance = (
                0.212671 * linear[rgb[y, x, 0]] + 0.715160 * linear[rgb[y, x, 1]] + 0.072169 * linear[rgb[y, x, 2]]
            )
            root = np.cbrt(luminance) if luminance > _EPSILON**3 else luminance / _SLOPE + 4.0 / 29.0
            codes[y, x] = np.uint16(min(max((116.0 * root - 16.0) * 655.35 + 0.5, 0.0), 65535.0))
    return codes
