"""Confidence intervals of means over photographs and of other statistics, by the bootstrap.

Photographs are drawn with replacement, and all columns are measured on the same draws: an interval of a difference
between colorizers is a paired one. The interval lies between percentiles of the draws' means, or other statistics.

Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""How often an interval should hold the true value."""
RESAMPLES = 2000
_AT_ONCE = 50
_SHARES = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Estimate:
    """A mean over photographs and its confidence interval."""

    mean: float
    low: float
    high: float
    photographs: int
    """How many have a value. If there are none, the mean is NaN, and with fewer than two the interval is."""


def estimate(values: NDArray[np.float64], weights: NDArray[np.float64], seed: int = 0) -> list[Estimate]:
    """Estimate weighted means of several columns and their 95 % confidence intervals.

    Args:
        values: (N, M), a row a photograph, N at least 1; NaN where a photograph has no value.
        weights: (N, M), positive: how much each value counts.
        seed: of the draws; the same seed and data give the same intervals.

    Returns:
        One estimate a column.
    """
    known = np.isfinite(values)
    weights = np.where(known, weights, 0.0)
    products = np.where(known, values, 0.0) * weights
    means = _ratio(products.sum(0), weights.sum(0))
    draws = np.concatenate([_ratio(counts @ products, counts @ weights) for counts in _counts(len(values), seed)])
    present = known.sum(0)
    low, high = (_percentile(draws, present, share) for share in _SHARES)
    return [
        Estimate(float(mean), float(least), float(most), int(count))
        for mean, least, most, count in zip(means, low, high, present, strict=True)
    ]


def interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], photographs: int, seed: int = 0
) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of any statistic of photographs.

    Args:
        statistic: takes the positions of the photographs of some draws, (draws, N), and returns its value of each draw,
            (draws,), NaN where it is not defined: such draws do not count, and not all may be such.
        photographs: N, at least 1.
        seed: of the draws, which are those of `estimate`.
    """
    values = np.concatenate([statistic(drawn) for drawn in _draws(photographs, seed)])
    low, high = np.nanpercentile(values, [100 * share for share in _SHARES])
    return float(low), float(high)


def _draws(photographs: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield, for some draws at a time, the positions of the photographs that were drawn: (draws, N)."""
    random = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, _AT_ONCE):
        yield random.integers(0, photographs, (min(_AT_ONCE, RESAMPLES - start), photographs))


def _counts(photographs: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield, for some draws at a time, how often each photograph was drawn: (draws, N) float64."""
    for drawn in _draws(photographs, seed):
        yield np.stack([np.bincount(each, minlength=photographs) for each in drawn]).astype(np.float64)


def _ratio(totals: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(totals, weights, out=np.full_like(totals, np.nan), where=weights > 0)


def _percentile(draws: NDArray[np.float64], present: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    found = np.full(draws.shape[1], np.nan)
    enough = present >= 2
    if enough.any():
        found[enough] = np.nanpercentile(draws[:, enough], 100 * share, axis=0)
    return found
