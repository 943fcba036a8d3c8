"""Selective risk: how a model's confidence goes with its error, photograph by photograph.

The rank correlation says whether the picture of higher confidence is the better one. The risk-coverage curve gives the
risk, the mean error, of the most confident photographs, for every coverage, the share of photographs that is kept.
Photographs of the same confidence have no order; each counts with the mean error of them all, so the curve of a
constant confidence is flat.

Source of the curve: R. El-Yaniv, Y. Wiener, "On the Foundations of Noise-free Selective Classification", Journal of
Machine Learning Research 11 (2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
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


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of confidence with an error; -1 is best: the error falls as it rises."""

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
    """With each of `CORRELATED`."""
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


def selective_risk(confidence: NDArray[np.float64], errors: Mapping[str, NDArray[np.float64]]) -> SelectiveRisk | None:
    """Measure what the confidence of a model says of its error; None if it has no confidence.

    Args:
        confidence: (N,), NaN where a photograph has none: it does not count.
        errors: (N,), for each of `CORRELATED`.
    """
    known = np.isfinite([confidence, *errors.values()]).all(0)
    confidence, errors = confidence[known], {name: each[known] for name, each in errors.items()}
    count = len(confidence)
    if not count:
        return None
    order = np.argsort(confidence, kind="stable")
    rising = _shared(confidence, errors[ERROR])[order]
    tenths = np.array_split(np.arange(count), min(10, count))
    return SelectiveRisk(
        photographs=count,
        rank_correlation={name: rank_correlation(confidence, errors[name]) for name in CORRELATED},
        risk=float(errors[ERROR].mean()),
        most_confident_half=float(rising[count // 2 :].mean()),
        least_confident_tenth=float(rising[: _part(count, 10)].mean()),
        deciles=tuple(
            Decile(len(each), float(confidence[order[each]].mean()), float(rising[each].mean())) for each in tenths
        ),
        coverages=COVERAGES,
        risks=_of_first(rising[::-1]),
        oracle_risks=_of_first(np.sort(errors[ERROR])),
    )


def rank_correlation(confidence: NDArray[np.float64], error: NDArray[np.float64]) -> Correlation:
    """Correlate (N,) with (N,), both finite, with the 95 % confidence interval over photographs."""
    reason = _why_undefined(confidence, error)
    if reason:
        return Correlation(None, None, None, reason)
    low, high = interval(_rank_correlations, confidence, error)
    return Correlation(float(scipy.stats.spearmanr(confidence, error).statistic), low, high, None)


def sentence(model: str, found: SelectiveRisk) -> str:
    """Say in words what the confidence of a model says of its error."""
    correlation = found.rank_correlation[ERROR]
    if correlation.value is None:
        return f"The confidence of {model} cannot be correlated with the error: {correlation.undefined}."
    return (
        f"The confidence of {model} and its mean a*b* distance have a rank correlation of {_words(correlation)}; it is "
        "-1 where the picture of higher confidence is always better, and 0 where confidence says nothing. "
        f"Mean a*b* distance: {found.most_confident_half:.2f} of the most confident half, {found.risk:.2f} of all, "
        f"{found.least_confident_tenth:.2f} of the least confident tenth."
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
        f"{error} of the most confident half ↓": f"{found.most_confident_half:.2f}",
        f"{error} of the least confident tenth": f"{found.least_confident_tenth:.2f}",
    }


def _shared(confidence: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each photograph the mean error of those of its confidence."""
    _, group = np.unique(confidence, return_inverse=True)
    return (np.bincount(group, error) / np.bincount(group))[group]


def _part(count: int, divisor: int) -> int:
    return -(-count // divisor)


def _of_first(errors: NDArray[np.float64]) -> tuple[float, ...]:
    """Average the first of (N,), for each of `COVERAGES`: at least so many percent, rounded up."""
    means = np.cumsum(errors) / np.arange(1, len(errors) + 1)
    return tuple(float(means[_part(coverage * len(errors), 100) - 1]) for coverage in COVERAGES)


def _why_undefined(confidence: NDArray[np.float64], error: NDArray[np.float64]) -> str:
    if len(error) < LEAST:
        return f"there are fewer than {LEAST} photographs"
    for values, name in ((confidence, "confidence"), (error, "error")):
        if np.ptp(values) == 0:
            return f"all photographs have the same {name}"
    return ""


def _rank_correlations(first: NDArray[np.float64], second: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Correlate the ranks along the last axis, equal values sharing theirs: (..., N) twice to (...), perhaps NaN."""
    one, other = (scipy.stats.rankdata(each, axis=-1) - (each.shape[-1] + 1) / 2 for each in (first, second))
    size = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return np.divide((one * other).sum(-1), size, out=np.full_like(size, np.nan), where=size > 0)


def _words(found: Correlation) -> str:
    return "–" if found.value is None else f"{found.value:.2f} [{found.low:.2f};{found.high:.2f}]"
