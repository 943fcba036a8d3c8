"""Confidence intervals of means over photographs, by the bootstrap.

Photographs are drawn with replacement, and all columns are measured on the same draws: an interval of a difference
between colorizers is a paired one. The interval lies between percentiles of the means of the draws.

Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
_AT_ONCE = 50


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
    low, high = (_percentile(draws, present, share) for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return [
        Estimate(float(mean), float(least), float(most), int(count))
        for mean, least, most, count in zip(means, low, high, present, strict=True)
    ]


def _counts(photographs: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield, for some draws at a time, how often each photograph was drawn: (draws, N) float64."""
    random = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, _AT_ONCE):
        drawn = random.integers(0, photographs, (min(_AT_ONCE, RESAMPLES - start), photographs))
        yield np.stack([np.bincount(each, minlength=photographs) for each in drawn]).astype(np.float64)


def _ratio(totals: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(totals, weights, out=np.full_like(totals, np.nan), where=weights > 0)


def _percentile(draws: NDArray[np.float64], present: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    found = np.full(draws.shape[1], np.nan)
    enough = present >= 2
    if enough.any():
        found[enough] = np.nanpercentile(draws[:, enough], 100 * share, axis=0)
    return found
