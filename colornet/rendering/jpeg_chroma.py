"""The chroma planes of a JPEG that keeps its own luma: what `lab_to_srgb` gives, reduced to Cb and Cr.

Chroma is stored at half size (4:2:0), so it is computed there: L* is averaged over blocks of 2 × 2 pixels, joined with
a*b* as any picture is, within the gamut, and its R, G, B are turned into Cb and Cr. Their luma is left behind:
the JPEG has its own.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from colornet.color.srgb import even_lightness
from colornet.rendering.lab_to_srgb import lab_to_srgb

# JFIF 1.02 (ITU-R BT.601, full range), for 16-bit R, G, B and 8-bit results.
_CB = tuple(np.float32(weight / 257) for weight in (-0.168736, -0.331264, 0.5))
_CR = tuple(np.float32(weight / 257) for weight in (0.5, -0.418688, -0.081312))
(_CB_R, _CB_G, _CB_B), (_CR_R, _CR_G, _CR_B) = _CB, _CR
_ROUNDED_NEUTRAL, _HIGHEST = np.float32(128.5), np.float32(255)


def chroma_planes(
    codes: NDArray[np.uint8] | NDArray[np.uint16], lightness: NDArray[np.float32], colour: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Compute Cb and Cr, 4:2:0, of luminance joined with small colour.

    Args:
        codes: (H, W), uint8 or uint16, the luminance code of each pixel.
        lightness: (256,) or (65536,) float32, L* in [0, 100] of each code.
        colour: (2, h, w) float32, a* and b* in [-128, 127], or (4, h, w) as `lab_to_srgb` takes it. Its corners
            are the corners of the picture.

    Returns:
        Cb and Cr, each (ceil(H / 2), ceil(W / 2)) uint8: 128 - 0.168736 R - 0.331264 G + 0.5 B and
        128 + 0.5 R - 0.418688 G - 0.081312 B (JFIF 1.02), rounded, of the sRGB colour that has the mean L* of each
        block of 2 × 2 pixels. Both are 128 where a* = b* = 0.
    """
    rgb = lab_to_srgb(_half(codes, lightness * np.float32(655.35)), even_lightness(), colour, 16)
    cb, cr = np.empty(rgb.shape[:2], np.uint8), np.empty(rgb.shape[:2], np.uint8)
    _to_chroma(rgb, cb, cr)
    return cb, cr


@numba.njit(nogil=True, cache=True)
def _half(codes: NDArray[Any], step_of_code: NDArray[Any]) -> NDArray[np.uint16]:
    """Mean codes of `even_lightness()` over blocks of 2 × 2; at an odd edge the last row or column counts twice."""
    height, width = codes.shape
    half = np.empty(((height + 1) // 2, (width + 1) // 2), np.uint16)
    quarter, round_up = np.float32(0.25), np.float32(0.5)
    for y in range(half.shape[0]):
        top, bottom = codes[2 * y], codes[min(2 * y + 1, height - 1)]
        for x in range(width // 2):
            left, right = 2 * x, 2 * x + 1
            above = step_of_code[top[left]] + step_of_code[top[right]]
            below = step_of_code[bottom[left]] + step_of_code[bottom[right]]
            half[y, x] = np.uint16(np.int32((above + below) * quarter + round_up))
        if width % 2:
            pair = step_of_code[top[width - 1]] + step_of_code[bottom[width - 1]]
            half[y, width // 2] = np.uint16(np.int32(pair * round_up + round_up))
    return half


@numba.njit(nogil=True, cache=True)
def _to_chroma(rgb: NDArray[np.uint16], cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> None:
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            red, green, blue = np.float32(rgb[y, x, 0]), np.float32(rgb[y, x, 1]), np.float32(rgb[y, x, 2])
            # Never below 0.5 of 255; the upper end, 255.5, is the one that has no code.
            blue_difference = red * _CB_R + green * _CB_G + blue * _CB_B + _ROUNDED_NEUTRAL
            red_difference = red * _CR_R + green * _CR_G + blue * _CR_B + _ROUNDED_NEUTRAL
            cb[y, x] = np.uint8(np.int32(min(blue_difference, _HIGHEST)))
            cr[y, x] = np.uint8(np.int32(min(red_difference, _HIGHEST)))
