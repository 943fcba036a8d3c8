"""Confidence intervals of means over photographs and of other statistics, by scipy's percentile bootstrap.

Photographs are drawn with replacement. All that is known of a photograph is drawn with it, so an interval of the
differences between two colorizers is a paired one.

Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

LEVEL = 0.95
"""How often an interval should hold the true value."""
RESAMPLES = 2000
_AT_ONCE = 100  # draws of photographs that are held in memory


@dataclass(frozen=True)
class Estimate:
    """A mean over photographs and its confidence interval."""

    mean: float
    low: float
    high: float
    photographs: int
    """How many have a value. If there are none, the mean is NaN, and with fewer than two the interval is."""


def estimate(values: NDArray[np.float64], weights: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Estimate a weighted mean and its 95 % confidence interval.

    Args:
        values: (N,), one a photograph; NaN where a photograph has no value: it does not count.
        weights: (N,), positive: how much each value counts.
        seed: of the draws; the same seed and data give the same interval.
    """
    known = np.isfinite(values)
    values, weights = values[known], weights[known]
    count = len(values)
    if count == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    low, high = interval(_weighted_mean, values, weights, seed=seed) if count > 1 else (np.nan, np.nan)
    return Estimate(float(_weighted_mean(values, weights)), low, high, count)


def interval(
    statistic: Callable[..., NDArray[np.float64]], *samples: NDArray[np.float64], seed: int = 0
) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of a statistic of photographs.

    Args:
        statistic: takes as many arrays as there are samples, (..., N) each, and `axis`, which is always -1; returns
            (...,), NaN where it is not defined: such draws do not count, and not all may be such.
        samples: (N,) each, N at least 2: what is known of the photographs, in the same order.
        seed: of the draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)  # its own interval is NaN if a draw is
        found: Any = scipy.stats.bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=_AT_ONCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = np.nanpercentile(found.bootstrap_distribution, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    return np.average(values, axis=axis, weights=weights)
