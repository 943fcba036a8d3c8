"""Confidence intervals of means over photographs and of other statistics, by the percentile bootstrap.

Photographs are drawn with replacement. All that is known of a photograph is drawn with it, so an interval of the
differences between two colorizers is a paired one.

scipy draws for any statistic. Where many follow from weighted means, these are drawn once, for all of them: how often
each photograph is in a draw is multinomial, and its count multiplies its weight.

Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; of the counts section 20.2.
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
    """A mean over photographs, or what else is measured of all of them, and its confidence interval."""

    mean: float
    """The value itself."""
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
    return _percentiles(found.bootstrap_distribution)


def weighted_means(columns: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average columns (K, N) with weights (N,): (K,)."""
    return np.average(columns, axis=-1, weights=weights)


def resampled_means(columns: NDArray[np.float64], weights: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Average columns with weights in each of `RESAMPLES` draws of photographs, the same for the same N and seed.

    Args:
        columns: (K, N), finite.
        weights: (N,), positive: how much each photograph counts; they are drawn with the photographs.
        seed: of the draws.

    Returns:
        (K, `RESAMPLES`).
    """
    random, count = np.random.default_rng(seed), len(weights)
    means = []
    for _ in range(0, RESAMPLES, _AT_ONCE):
        drawn = random.multinomial(count, np.full(count, 1 / count), size=_AT_ONCE).T * weights[:, None]
        means.append(columns @ drawn / drawn.sum(0))
    return np.concatenate(means, axis=1)


def estimate_draws(value: float, draws: NDArray[np.float64], count: int) -> Estimate:
    """Make an estimate of a value, of (R,) values of draws, NaN where it is not defined, and of how many photographs.

    Draws that are not defined do not count. With fewer than two photographs there is no interval.
    """
    if count < 2 or not np.isfinite(value) or np.isnan(draws).all():
        return Estimate(value, np.nan, np.nan, count)
    return Estimate(value, *_percentiles(draws), count)


def _percentiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    return np.average(values, axis=axis, weights=weights)
