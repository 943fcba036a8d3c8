"""The peak signal-to-noise ratio (PSNR)."""

import math

from torch import Tensor

LEAST_ERROR = 0.5 / 255
"""Smaller root mean squared errors, as a share of the peak, count as this: half a step of 8 bits."""
BEST_PSNR = -20 * math.log10(LEAST_ERROR)
"""What identical pictures have, dB: 54.15. It is finite, and in a mean it does not outweigh all other pictures."""


def psnr(pictures: Tensor, true: Tensor, peak: float) -> Tensor:
    """Compute 10 log10(peak² / MSE), the mean squared error being that of all channels and pixels.

    Args:
        pictures: (N, C, H, W), floating point.
        true: the same shape.
        peak: the largest difference that there can be: 255 for 8-bit values, 1 for those in [0, 1].

    Returns:
        (N,) float64, in dB, at most `BEST_PSNR`.
    """
    error = (pictures.double() - true.double()).square().mean((-3, -2, -1)) / peak**2
    return -10 * error.clamp(min=LEAST_ERROR**2).log10()
