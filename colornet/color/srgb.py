"""sRGB and L*: their numbers, each defined here and nowhere else, and the tables that say what a gray level means.

Formulas: IEC 61966-2-1 (sRGB primaries and transfer), CIE 15 (L*). The white point is the sum of the primaries, so that
equal red, green and blue are exactly neutral.
"""

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

PRIMARIES = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
"""Linear sRGB to CIE XYZ, D65."""
WHITE = PRIMARIES.sum(axis=1)
"""CIE XYZ of the white point."""
LUMINANCE: tuple[float, float, float] = tuple(PRIMARIES[1].tolist())
"""Shares of linear red, green and blue in the luminance Y."""

GAMMA, OFFSET, LINEAR_SLOPE = 2.4, 0.055, 12.92
"""The sRGB transfer function: (1 + OFFSET) light^(1 / GAMMA) - OFFSET, and LINEAR_SLOPE * light near black."""
LINEAR_BEND, ENCODED_BEND = 0.0031308, 0.04045
"""Where it changes from the line to the power: in linear light, and encoded."""

EPSILON = 6.0 / 29.0
"""The CIE f is a cube root above the cube of this, and a line below."""
SLOPE = 3.0 * EPSILON**2
"""Slope of the inverse of that line."""
F_SCALE, F_OFFSET = 116.0, 16.0
"""L* is F_SCALE * f(Y / Yn) - F_OFFSET."""
LIGHTNESS_BEND = 8.0
"""L* up to which it is proportional to Y."""
LUMINANCE_PER_LIGHTNESS = (3.0 / 29.0) ** 3
"""Y of a unit of L* there."""


def linear_from_srgb(encoded: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the sRGB transfer function: [0, 1] to linear light in [0, 1]."""
    encoded = np.asarray(encoded, np.float64)
    return np.where(encoded <= ENCODED_BEND, encoded / LINEAR_SLOPE, ((encoded + OFFSET) / (1 + OFFSET)) ** GAMMA)


def srgb_from_linear(linear: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply the sRGB transfer function: linear light in [0, 1] to [0, 1]."""
    linear = np.asarray(linear, np.float64)
    power = (1 + OFFSET) * np.maximum(linear, LINEAR_BEND) ** (1 / GAMMA) - OFFSET
    return np.where(linear <= LINEAR_BEND, linear * LINEAR_SLOPE, power)


def lightness_from_luminance(luminance: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIE L* in [0, 100] of the relative luminance Y/Yn in [0, 1]."""
    luminance = np.asarray(luminance, np.float64)
    root = np.where(luminance > EPSILON**3, np.cbrt(luminance), luminance / SLOPE + 4.0 / 29.0)
    return F_SCALE * root - F_OFFSET


def root_from_lightness(lightness: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIE f(Y/Yn) of L*: the cube root of the relative luminance, but near black."""
    return (np.asarray(lightness, np.float64) + F_OFFSET) / F_SCALE


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
    linear = linear_from_srgb(np.arange(levels) / (levels - 1)).astype(np.float32)
    return _lightness_codes(rgb, linear, _codes_of_luminance())


_GRID = 65536
_RED, _GREEN, _BLUE = map(np.float32, LUMINANCE)


@functools.cache
def _codes_of_luminance() -> NDArray[np.float32]:
    """Codes of `even_lightness()` on a grid of Y; interpolated between its points, off by 0.002 of a code at most."""
    return (lightness_from_luminance(np.minimum(np.arange(_GRID + 2) / _GRID, 1.0)) * 655.35).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _lightness_codes(
    rgb: NDArray[Any], linear: NDArray[np.float32], codes_of_luminance: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    height, width = rgb.shape[0], rgb.shape[1]
    codes = np.empty((height, width), np.uint16)
    index, part = np.empty(width, np.uint32), np.empty(width, np.float32)
    luminance = np.empty(width, np.float32)
    for y in range(height):
        for x in range(width):
            luminance[x] = _RED * linear[rgb[y, x, 0]] + _GREEN * linear[rgb[y, x, 1]] + _BLUE * linear[rgb[y, x, 2]]
        for x in range(width):
            position = min(luminance[x], np.float32(1)) * np.float32(_GRID)
            whole = np.int32(position)
            index[x] = whole
            part[x] = position - np.float32(whole)
        for x in range(width):
            low, high = codes_of_luminance[index[x]], codes_of_luminance[index[x] + np.uint32(1)]
            codes[y, x] = np.int32(low + part[x] * (high - low) + np.float32(0.5))
    return codes
