"""Edge bleeding: colour that changes where the luminance does not.

Where colour runs over the edge of an object, it changes beside the edge and not on it. The change of colour is the
energy |grad a*|² + |grad b*|²; measured is the share of it that lies off the edges of the luminance. Photographs have
such changes too, so the bleeding of a colorizer is the difference:

    bleeding = share(predicted a*b*) - share(true a*b*)
    share    = sum of the energy over pixels off edges / sum of the energy over all pixels

A pixel is on an edge if |grad L*| is above `EDGE` there or at one of its eight neighbours. Gradients are central
differences. The share does not depend on how saturated the colours are.
"""

import torch
from torch import Tensor
from torch.nn import functional

EDGE = 5.0
"""Least |grad L*| of an edge, L* a pixel."""
LEAST_ENERGY = 1e-4
"""Pictures whose mean energy is less, in (units of a*b* a pixel)², have no colour that could bleed."""


def bleeding(lightness: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
    """Measure how much more of its change of colour a prediction has off the edges than the truth.

    Args:
        lightness: (N, H, W), true L* in [0, 100].
        predicted: (N, 2, H, W), a* and b* in [-128, 127].
        true: the same.

    Returns:
        (N,) in [-1, 1]; 0 for the truth itself; NaN where the colour of one of both does not change at all.
    """
    return off_edge_share(lightness, predicted) - off_edge_share(lightness, true)


def off_edge_share(lightness: Tensor, ab: Tensor) -> Tensor:
    """Share of the change of colour that lies off the edges of L*: (N, H, W) and (N, 2, H, W) to (N,), perhaps NaN."""
    edges = (_energy(lightness.unsqueeze(1)) > EDGE**2).to(lightness.dtype).unsqueeze(1)
    near = functional.max_pool2d(edges, 3, stride=1, padding=1).squeeze(1)
    energy = _energy(ab)
    share = (energy * (1 - near)).sum((-2, -1)) / energy.sum((-2, -1))
    return share.where(energy.mean((-2, -1)) >= LEAST_ENERGY, torch.nan)


def _energy(planes: Tensor) -> Tensor:
    """Squared length of the gradients of all planes together: (N, C, H, W) to (N, H, W)."""
    vertical, horizontal = torch.gradient(planes, dim=(-2, -1))
    return (vertical**2 + horizontal**2).sum(1)
