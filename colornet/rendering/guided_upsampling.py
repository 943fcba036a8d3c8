"""Colour goes where the edges are: the network's small a*b* as a local function of L*.

The fast guided filter (K. He and J. Sun, "Fast Guided Filter", 2015; K. He, J. Sun and X. Tang, "Guided Image
Filtering", 2013): around each small pixel a*b* is fitted as a line in L*, and the coefficients of the lines, not the
colours, are brought to full size. There the full-size L* decides, so that a colour ends where the luminance says so.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

RADIUS = 1
"""Half the side of the window, in small pixels: enough to see both sides of an edge that the resize has blurred."""
EPSILON = 2.0
"""In squared L*: windows that vary much less than its root have no edge worth following; there colour is smoothed."""


def follow_lightness(
    ab: NDArray[np.float32], lightness: NDArray[np.float32], *, radius: int = RADIUS, epsilon: float = EPSILON
) -> NDArray[np.float32]:
    """Fit small a*b* as local lines in L*.

    Args:
        ab: (2, h, w) float32, a* and b*.
        lightness: (h, w) float32, L* in [0, 100] of the same small picture.
        radius: half the side of the window in pixels.
        epsilon: regularisation in squared L*.

    Returns:
        (4, h, w) float32: slopes of a* and b* per unit of L*, then their offsets, so that a* = slope L* + offset.
    """
    guide, colour = lightness.astype(np.float64), ab.astype(np.float64)
    mean_guide, mean_colour = _mean(guide, radius), _mean(colour, radius)
    covariance = _mean(guide * colour, radius) - mean_guide * mean_colour
    variance = _mean(guide * guide, radius) - mean_guide * mean_guide
    slope = covariance / (np.maximum(variance, 0.0) + epsilon)
    offset = mean_colour - slope * mean_guide
    return np.concatenate([_mean(slope, radius), _mean(offset, radius)]).astype(np.float32)


def _mean(planes: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Mean over square windows of the last two axes; the picture's edges are repeated outwards."""
    return uniform_filter(planes, 2 * radius + 1, axes=(-2, -1), mode="nearest")
