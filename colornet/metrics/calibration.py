"""Whether colour is calibrated: as strong as the evidence allows, without a cast, and more where the truth has more.

All of it follows from means over pixels, which add up over pictures and workers. `moments` takes them of each picture;
the others take those of one picture or of many together, since pictures of one size count alike:

    gain        = E[t p] / E[p²]            the factor of p that has the least squared error
    bias        = E[p] - E[t]
    correlation = Cov[t, p] / √(Var[t] Var[p])
    error       = E[(p - t)²] = E[t²] - 2 E[t p] + E[p²], of a* and b* together

with t a true and p a predicted a* or b*. A gain of 1 is calibrated; below, the predicted colour is too strong for how
right it is: the derivative of E[(g p - t)²] by g, 2 g E[p²] - 2 E[t p], is 0 there.

The error is split as a variance is: pictures' mean colours differ by (E[p] - E[t])² of each, and the rest is within.

Source: of least squares through the origin and the split G. A. F. Seber, A. J. Lee, "Linear Regression Analysis"
(2003), chapters 3 and 8.
"""

from typing import NamedTuple

import torch
from torch import Tensor

NEUTRAL_CHROMA = 4.0
"""True chroma below which a pixel counts as neutral."""
WORSE_THAN_GRAY = 1.0
"""How many dB of PSNR below gray a picture counts as worse than gray."""

_LEAST_SPREAD = 1e-9  # of the mean square: what has less variance is constant, but for rounding


class Moments(NamedTuple):
    """Means over pixels, (..., 2) float64 each, for a* and b*, in units of a*b* or their squares."""

    true: Tensor
    predicted: Tensor
    true_squared: Tensor
    predicted_squared: Tensor
    product: Tensor
    """Of true and predicted."""


def moments(predicted: Tensor, true: Tensor) -> Moments:
    """Average over the pixels of each picture: (N, 2, H, W) a*b* twice to (N, 2) each."""
    p, t = predicted.double(), true.double()
    return Moments(*(each.mean((-2, -1)) for each in (t, p, t**2, p**2, t * p)))


def gain(found: Moments) -> Tensor:
    """Factor of the prediction that has the least squared error, (..., 2); NaN of a prediction that is 0."""
    return found.product / found.predicted_squared


def bias(found: Moments) -> Tensor:
    """How far the mean prediction lies from the mean truth, (..., 2), in units of a*b*."""
    return found.predicted - found.true


def correlation(found: Moments) -> Tensor:
    """Pearson's correlation over pixels, (..., 2) in [-1, 1]; NaN where one of both is constant."""
    variances = _variance(found.true, found.true_squared) * _variance(found.predicted, found.predicted_squared)
    covariance = found.product - found.true * found.predicted
    return (covariance / variances.sqrt()).clamp(-1, 1).where(variances > 0, torch.nan)


def squared_error(found: Moments) -> Tensor:
    """Mean squared distance of a*b*, (...), in squared units."""
    return (found.true_squared - 2 * found.product + found.predicted_squared).sum(-1).clamp(min=0)


def squared_error_of_means(found: Moments) -> Tensor:
    """Squared distance of the mean a*b*, (...): of one picture, its share of the error between pictures' means."""
    return (bias(found) ** 2).sum(-1)


def neutral_chroma(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Tell how much colour truly neutral pixels get.

    Args:
        predicted: (N, 2, H, W), a* and b*.
        true: the same.

    Returns:
        (N,) float64 twice: the share of neutral pixels, those with a chroma below `NEUTRAL_CHROMA`; and the predicted
        chroma that is painted on them, as a mean over all pixels. The ratio of their sums is that of neutral pixels.
    """
    neutral = (torch.linalg.vector_norm(true, dim=1) < NEUTRAL_CHROMA).double()
    painted = torch.linalg.vector_norm(predicted.double(), dim=1) * neutral
    return neutral.mean((-2, -1)), painted.mean((-2, -1))


def _variance(mean: Tensor, squared: Tensor) -> Tensor:
    """Variance, and 0 of what differs by rounding alone."""
    variance = squared - mean**2
    return variance.where(variance > _LEAST_SPREAD * squared, 0)
