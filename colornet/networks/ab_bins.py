"""Colour as a distribution over bins: a*b* quantised on a grid of 10 units, within the gamut of sRGB.

Logits are (B, Q, H, W), one for each of the Q bins; a*b* here is in its own units, [-128, 127].

Source: Zhang, Isola and Efros 2016, "Colorful image colorization", section 2, whose symbols are given below.
"""

import functools
import math

import torch
from torch import Tensor

from colornet.color import lab

GRID = 10.0
"""Distance of neighbouring bins, in units of a*b*."""
NEIGHBOURS = 5
"""Bins over which a true colour is spread."""
SIGMA = 5.0
"""Standard deviation of the Gaussian of that spread, and of the smoothing of frequencies, in units of a*b*."""
TEMPERATURE = 0.38
"""T of the annealed mean: 1 gives the mean, 0 the mode."""


def gamut_bins() -> Tensor:
    """Return the centres of the bins: multiples of 10 whose cell, 10×10 around them, has a colour of sRGB.

    There are 262. The paper counts 313 and does not say how; the multiples of 10 that are in sRGB themselves, at some
    L*, are 228, but then the most saturated colours have no bin near.

    Returns:
        (262, 2) float32, a* and b*, sorted by a*, then by b*.
    """
    return _gamut_bins().clone()


@functools.cache
def _gamut_bins() -> Tensor:
    # Colours on the surface of the RGB cube are enough: the line of constant a*b* through another leaves it somewhere.
    # With 256 levels one cell, of which sRGB has but a sliver, is missed; with 512, 1024 or 2048 there are 262.
    with torch.device("cpu"):  # also while the network is built on another device
        held = torch.zeros(27, 27, dtype=torch.bool)  # a* and b* from -130 to 130
        levels = torch.linspace(0, 1, 512, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(levels, levels, indexing="ij"))
        for axis in range(3):
            for extreme in (0.0, 1.0):
                rgb = torch.cat([grid[:axis], torch.full_like(grid[:1], extreme), grid[axis:]])
                a, b = (lab.rgb_to_lab(rgb)[1:] / GRID).round().long() + 13
                held[a, b] = True
        return (held.nonzero() - 13) * GRID


def soft_encode(ab: Tensor, centres: Tensor) -> Tensor:
    """Spread true colour over the nearest bins, by a Gaussian of the distance.

    Args:
        ab: (B, 2, H, W), in [-128, 127].
        centres: (Q, 2), of the bins.

    Returns:
        (B, Q, H, W) float32, which adds up to 1 over the bins: Z of equation 2.
    """
    distances, nearest = _distances(ab, centres).topk(NEIGHBOURS, largest=False)
    shares = torch.softmax(-distances.square() / (2 * SIGMA**2), dim=-1)
    empty = shares.new_zeros((*shares.shape[:-1], len(centres)))
    return empty.scatter_(-1, nearest, shares).movedim(-1, 1)


def annealed_mean(logits: Tensor, centres: Tensor) -> Tensor:
    """Return one colour for each distribution, between its mean and its mode.

    Args:
        logits: (B, Q, H, W).
        centres: (Q, 2), of the bins.

    Returns:
        (B, 2, H, W) float32, a* and b*: H of equation 5.
    """
    shares = torch.softmax(logits.float() / TEMPERATURE, dim=1)
    # Not as a product of matrices: autocast would compute that in bfloat16, and round a* and b* to half a unit.
    return torch.stack([(shares * channel.reshape(-1, 1, 1)).sum(dim=1) for channel in centres.float().T], dim=1)


def certainty(logits: Tensor) -> Tensor:
    """Tell how sure each prediction is: 1 less the entropy of the distribution, as a share of the largest there is.

    It is 0 where all bins are as likely, 1 where there is one only. A colour as `soft_encode` gives it, known for sure,
    has about 0.8. L* has no part in it.

    Args:
        logits: (B, Q, H, W).

    Returns:
        (B, H, W) float32, in [0, 1].
    """
    log_shares = torch.log_softmax(logits.float(), dim=1)
    entropy = -(log_shares.exp() * log_shares).sum(dim=1)
    return (1 - entropy / math.log(logits.shape[1])).clamp(0, 1)


def count_bins(ab: Tensor, centres: Tensor) -> Tensor:
    """Count the pixels of (B, 2, H, W) true a*b*, in [-128, 127], by their nearest bin: (Q,) int64."""
    return torch.bincount(_distances(ab, centres).argmin(dim=-1).flatten(), minlength=len(centres))


def rebalancing_weights(counts: Tensor, centres: Tensor, *, uniform_share: float = 0.5) -> Tensor:
    """Return weights that are larger for rare colours; unweighted, the many gray pixels would make predictions gray.

    The counts are made frequencies, smoothed over neighbouring bins by a Gaussian, and mixed with equal ones.

    Args:
        counts: (Q,), of pixels by bin, from many photographs; more than 0 in all.
        centres: (Q, 2), of the bins.
        uniform_share: λ, the share of equal frequencies in the mixture, above 0 and up to 1, where all weights are 1.

    Returns:
        (Q,) float32, whose mean over the smoothed frequencies is 1: w of equation 4.
    """
    kernel = torch.exp(-torch.cdist(centres.double(), centres.double()).square() / (2 * SIGMA**2))
    frequencies = (kernel / kernel.sum(dim=0)) @ (counts / counts.sum()).double()
    weights = 1 / ((1 - uniform_share) * frequencies + uniform_share / len(counts))
    return (weights / (frequencies @ weights)).float()


def _distances(ab: Tensor, centres: Tensor) -> Tensor:
    """Distances of (B, 2, H, W) from each bin: (B, H, W, Q)."""
    pixels = ab.float().flatten(2).mT
    exact = "donot_use_mm_for_euclid_dist"  # the other way loses what is small
    distances = torch.cdist(pixels, centres.float().expand(len(ab), -1, -1), compute_mode=exact)
    return distances.unflatten(1, ab.shape[-2:])
