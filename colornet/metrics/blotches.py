"""Blotches: colour that varies where the luminance gives no reason to.

A thing has much the same colour all over where it is about as bright, so colour should hardly vary among pixels that
lie near each other and are alike in L*. Such pixels are a segment here: those of one cell of a grid over the picture
and L*, the bilateral grid. That needs no segmentation of things, which would have its own mistakes.

    blotches = root of the mean, over all pixels, of |a*b* - mean a*b* of the segment|²

It is in units of a*b*, so a paler colour has less of it: compare colours of the same strength. Photographs have some
too, of coloured texture and of things that are alike in L*.

Source of the grid: J. Chen, S. Paris, F. Durand, "Real-time edge-aware image processing with the bilateral grid", ACM
Transactions on Graphics 26 (2007).
"""

import torch
from torch import Tensor

CELLS = 8
"""Cells along each side of the picture: a cell is about as large as the blotches that are seen."""
STEP = 10.0
"""L* that a segment spans."""
_SHADES = int(100 / STEP)
_SEGMENTS = CELLS * CELLS * _SHADES


def blotches(lightness: Tensor, ab: Tensor) -> Tensor:
    """Measure how much colour varies inside segments.

    Args:
        lightness: (N, H, W), L* in [0, 100].
        ab: (N, 2, H, W), a* and b* in [-128, 127].

    Returns:
        (N,), at least 0, in units of a*b*: 0 where each segment has one colour.
    """
    segments = _segments(lightness).unsqueeze(1).expand(-1, 2, -1)
    colour = ab.flatten(2)
    means = colour.new_zeros(len(ab), 2, _SEGMENTS).scatter_reduce(2, segments, colour, "mean", include_self=False)
    return (colour - means.gather(2, segments)).square().sum(1).mean(1).sqrt()


def _segments(lightness: Tensor) -> Tensor:
    """Number the segment of each pixel: (N, H, W) to (N, H W) int64."""
    height, width = lightness.shape[-2:]
    row = (torch.arange(height) * CELLS // height).reshape(-1, 1)
    column = torch.arange(width) * CELLS // width
    shade = (lightness / STEP).to(torch.int64).clamp(0, _SHADES - 1)
    return ((row * CELLS + column) * _SHADES + shade).flatten(1)
