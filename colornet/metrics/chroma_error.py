"""The area under the curve of a*b* errors (AuC), of all pixels alike, and with rare colours made to count as frequent.

The curve is the share of pixels whose a*b* is within a distance of the truth, for the distances 0 to 150 in steps of 1;
its area by the trapezoidal rule is divided by that of a perfect curve. The area is a mean over pixels: each adds the
area of its own step. So a picture's area, and the weight that goes with it, are all that has to be kept to get that of
a data set.

Source: R. Zhang, P. Isola, A. A. Efros, "Colorful Image Colorization", ECCV 2016, section 3.1 and, for the weights,
equation 4 with lambda = 0.
"""

import torch
from torch import Tensor

LARGEST = 150
"""Largest distance, in units of a*b*."""
BIN = 10
"""Side of the bins of colour, in units of a*b*."""
LEAST_SHARE = 1e-4
"""Colours that are rarer than this count as if they were as frequent."""

_REACH = 11  # bins on either side of gray; sRGB reaches from -108 to 99
_SIDE = 2 * _REACH + 1
BINS = _SIDE * _SIDE
"""Bins of colour: centred at multiples of `BIN`, those at the rim take what lies outside."""


def ab_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """Euclidean distance of a*b*: (N, 2, H, W) twice, in units of a*b*, to (N, H, W)."""
    return torch.linalg.vector_norm(predicted - true, dim=1)


def area(distance: Tensor) -> Tensor:
    """Area that each pixel adds to the curve, in percent of the whole.

    Args:
        distance: any shape, floating point, at least 0, in units of a*b*.

    Returns:
        The same shape: 100 where the distance is 0, and (150.5 - ceil(distance)) / 1.5 up to 150, else 0.
    """
    return (LARGEST + 0.5 - distance.ceil()).clamp(0, LARGEST) * (100 / LARGEST)


def colour_bins(ab: Tensor) -> Tensor:
    """Number the bin of each pixel's colour: (N, 2, H, W) a*, b* to (N, H, W) int64 in [0, `BINS`)."""
    a, b = ((ab / BIN).round().clamp(-_REACH, _REACH).to(torch.int64) + _REACH).unbind(1)
    return a * _SIDE + b


def count_bins(ab: Tensor) -> Tensor:
    """Count the pixels of each bin: (N, 2, H, W) a*, b* to (`BINS`,) int64."""
    return torch.bincount(colour_bins(ab).flatten(), minlength=BINS)


def balancing_weights(counts: Tensor) -> Tensor:
    """Weight of a pixel in each bin: (`BINS`,) counts of pixels, not all 0, to (`BINS`,) float32, 1 / share of the bin.

    No share is taken for less than `LEAST_SHARE`.
    """
    return (1 / (counts.double() / counts.sum()).clamp(min=LEAST_SHARE)).float()
