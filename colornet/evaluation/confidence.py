"""Selective risk: how a model's confidence goes with its error, photograph by photograph.

The rank correlation says whether the picture of higher confidence is the better one. The risk-coverage curve gives the
risk, the mean error, of the most confident photographs, for every coverage, the share of photographs that is kept.
Photographs of the same confidence have no order; each counts with the mean error of them all, so the curve of a
constant confidence is flat.

Photographs may have weights. A weight of 2 counts as if the photograph were there twice, in means, in ranks and in the
share that is kept.

Source of the curve: R. El-Yaniv, Y. Wiener, "On the Foundations of Noise-free Selective Classification", Journal of
Machine Learning Research 11 (2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colornet.evaluation.bootstrap import interval
from colornet.evaluation.metrics import METRICS

ERROR = "ab_distance"
"""The metric that is the error here."""
CORRELATED = (ERROR, "ciede2000")
"""The metrics that confidence is correlated with."""
COVERAGES = tuple(range(5, 101, 5))
"""Percent of the photographs that are kept, the points of the curve."""
LEAST = 3
"""Fewer photographs have no correlation: that of two is always 1 or -1."""
_ROUNDING = 1e-9
"""Sums of weights differ by less than this share from what they should be."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of confidence with something else, such as an error."""

    value: float | None
    """In [-1, 1]; None if it is not defined."""
    low: float | None
    high: float | None
    undefined: str | None
    """Why it is not defined."""


@dataclass(frozen=True)
class Decile:
    """A tenth of the photographs, in the order of confidence."""

    photographs: int
    confidence: float
    """Mean."""
    error: float
    """Mean."""


@dataclass(frozen=True)
class SelectiveRisk:
    """What a model's confidence says of its error. Risks are means over photographs of `ERROR`, in units of a*b*."""

    photographs: int
    rank_correlation: dict[str, Correlation]
    """With each of `CORRELATED`; -1 is best."""
    gain_correlation: Correlation
    """With the PSNR over that of gray; 1 is best: where it is sure, colour gains."""
    risk: float
    """Of all photographs. At any coverage, a random choice of photographs has the same expected risk."""
    most_confident_half: float
    """Risk of that half."""
    least_confident_tenth: float
    """Risk of that tenth."""
    deciles: tuple[Decile, ...]
    """The least confident first; fewer than ten if there are fewer photographs."""
    coverages: tuple[int, ...]
    """`COVERAGES`."""
    risks: tuple[float, ...]
    """Risk of the most confident photographs, at each coverage."""
    oracle_risks: tuple[float, ...]
    """Risk of the photographs of least error, at each coverage: no confidence can have less."""


def selective_risk(
    confidence: NDArray[np.float64],
    errors: Mapping[str, NDArray[np.float64]],
    over_gray: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> SelectiveRisk | None:
    """Measure what the confidence of a model says of its error; None if it has no confidence.

    Args:
        confidence: (N,), NaN where a photograph has none: it does not count.
        errors: (N,), for each of `CORRELATED`.
        over_gray: (N,), PSNR less that of gray.
        weights: (N,), positive; all the same if not given.
    """
    weights = np.ones(len(confidence)) if weights is None else weights
    known = np.isfinite([confidence, over_gray, *errors.values()]).all(0)
    confidence, over_gray, weights = confidence[known], over_gray[known], weights[known]
    errors = {name: each[known] for name, each in errors.items()}
    count = len(confidence)
    if not count:
        return None
    error, order = errors[ERROR], np.argsort(confidence, kind="stable")
    rising, weights_rising = _shared(confidence, error, weights)[order], weights[order]
    falling = rising[::-1], weights_rising[::-1]
    best = np.argsort(error)
    tenths = np.array_split(np.arange(count), min(10, count))
    return SelectiveRisk(
        photographs=count,
        rank_correlation={name: rank_correlation(confidence, errors[name], weights) for name in CORRELATED},
        gain_correlation=rank_correlation(confidence, over_gray, weights, "gain over gray"),
        risk=float(np.average(error, weights=weights)),
        most_confident_half=_of_first(*falling, 50),
        least_confident_tenth=_of_first(rising, weights_rising, 10),
        deciles=tuple(
            Decile(
                len(each),
                float(np.average(confidence[order[each]], weights=weights_rising[each])),
                float(np.average(rising[each], weights=weights_rising[each])),
            )
            for each in tenths
        ),
        coverages=COVERAGES,
        risks=tuple(_of_first(*falling, coverage) for coverage in COVERAGES),
        oracle_risks=tuple(_of_first(error[best], weights[best], coverage) for coverage in COVERAGES),
    )


def rank_correlation(
    confidence: NDArray[np.float64],
    other: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    name: str = "error",
) -> Correlation:
    """Correlate (N,) with (N,), both finite, with the 95 % confidence interval over photographs.

    Args:
        confidence: of each photograph.
        other: what it is correlated with.
        weights: (N,), positive; all the same if not given.
        name: what `other` is called where there is no correlation.
    """
    reason = _why_undefined(confidence, other, name)
    if reason:
        return Correlation(None, None, None, reason)
    samples = (confidence, other, np.ones(len(other)) if weights is None else weights)
    low, high = interval(_rank_correlations, *samples)
    return Correlation(float(_rank_correlations(*samples)), low, high, None)


def sentence(model: str, found: SelectiveRisk) -> str:
    """Say in words what the confidence of a model says of its error."""
    correlation = found.rank_correlation[ERROR]
    if correlation.value is None:
        return f"The confidence of {model} cannot be correlated with the error: {correlation.undefined}."
    return (
        f"The confidence of {model} and its mean a*b* distance have a rank correlation of {_words(correlation)}; it is "
        "-1 where the picture of higher confidence is always better, and 0 where confidence says nothing. "
        f"Mean a*b* distance: {found.most_confident_half:.2f} of the most confident half, {found.risk:.2f} of all, "
        f"{found.least_confident_tenth:.2f} of the least confident tenth. "
        f"With the PSNR over gray, the rank correlation is {_words(found.gain_correlation)}; it is 1 where colour "
        "always gains more on the picture of higher confidence."
    )


def table(found: Mapping[str, SelectiveRisk], columns: Sequence[str]) -> list[list[str]]:
    """Write what was found, of at least one model, for people.

    Returns:
        Lines: a title, then a cell for each of the names in `columns`, most of which may have no confidence.
    """
    cells = {name: _cells(each) for name, each in found.items()}
    titles = next(iter(cells.values()))
    return [[title, *(cells[name][title] if name in cells else "–" for name in columns)] for title in titles]


def _cells(found: SelectiveRisk) -> dict[str, str]:
    error = METRICS[ERROR].title
    correlations = {METRICS[metric].title: _words(each) for metric, each in found.rank_correlation.items()}
    return {
        **{f"{title}, rank correlation with confidence → -1": words for title, words in correlations.items()},
        "PSNR over gray, rank correlation with confidence → 1": _words(found.gain_correlation),
        f"{error} of the most confident half ↓": f"{found.most_confident_half:.2f}",
        f"{error} of the least confident tenth": f"{found.least_confident_tenth:.2f}",
    }


def _shared(
    confidence: NDArray[np.float64], error: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give each photograph the mean error of those of its confidence."""
    _, group = np.unique(confidence, return_inverse=True)
    return (np.bincount(group, weights * error) / np.bincount(group, weights))[group]


def _of_first(errors: NDArray[np.float64], weights: NDArray[np.float64], coverage: int) -> float:
    """Average the first of (N,), as many as have `coverage` percent of the weight, or just more."""
    kept = np.cumsum(weights)
    enough = coverage / 100 * kept[-1] * (1 - _ROUNDING)
    number = int(np.searchsorted(kept, enough)) + 1
    return float(np.average(errors[:number], weights=weights[:number]))


def _why_undefined(confidence: NDArray[np.float64], other: NDArray[np.float64], name: str) -> str:
    if len(other) < LEAST:
        return f"there are fewer than {LEAST} photographs"
    for values, what in ((confidence, "confidence"), (other, name)):
        if np.ptp(values) == 0:
            return f"all photographs have the same {what}"
    return ""


def _rank_correlations(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    """Correlate the ranks along the last axis, equal values sharing theirs: (..., N) each to (...), perhaps NaN."""
    one, other = (_centred_ranks(each, weights) for each in (first, second))
    size = np.sqrt((weights * one**2).sum(-1) * (weights * other**2).sum(-1))
    return np.divide((weights * one * other).sum(-1), size, out=np.full_like(size, np.nan), where=size > 0)


def _centred_ranks(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank along the last axis: half the weight of what is smaller, less half the weight of what is larger."""
    order = np.argsort(values, axis=-1)
    rising, weight = np.take_along_axis(values, order, -1), np.take_along_axis(weights, order, -1)
    after = np.cumsum(weight, axis=-1)
    before = after - weight
    step = np.diff(rising, axis=-1) > 0
    first = np.concatenate([np.ones_like(step[..., :1]), step], axis=-1)
    last = np.concatenate([step, np.ones_like(step[..., :1])], axis=-1)
    smaller = np.maximum.accumulate(np.where(first, before, 0), axis=-1)
    no_larger = np.minimum.accumulate(np.where(last, after, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty_like(rising)
    np.put_along_axis(ranks, order, (smaller + no_larger - after[..., -1:]) / 2, -1)
    return ranks


def _words(found: Correlation) -> str:
    return "–" if found.value is None else f"{found.value:.2f} [{found.low:.2f};{found.high:.2f}]"
