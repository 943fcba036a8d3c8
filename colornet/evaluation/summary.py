"""What the rows of all photographs say together: means with their intervals, and differences between models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from colornet.evaluation.bootstrap import Estimate, estimate
from colornet.evaluation.metrics import METRICS, Metric

Results = dict[str, dict[str, Estimate]]
"""Name of a colorizer, or of a difference, to name of a metric to what was found."""


def summarize(
    rows: pa.Table, colorizers: Sequence[str], models: Sequence[str], weights: NDArray[np.float64] | None = None
) -> tuple[Results, Results]:
    """Estimate every metric of every colorizer, and its differences between models.

    Args:
        rows: of `measure.ROWS`, without those that have a reason; for each photograph, at least one, all colorizers.
        colorizers: names of all.
        models: names of those that are compared, each with the first.
        weights: (N,), positive: how much each photograph counts, in their order; all the same if not given.

    Returns:
        The results of the colorizers, and of the differences, which are called "B - A". The mean of `auc_balanced` is
        weighted with the photographs' `balance` too, so that it is that of all their pixels.
    """
    balance = column(rows, colorizers[0], "balance")
    weights = np.ones_like(balance) if weights is None else weights
    values = {name: {metric: column(rows, name, metric) for metric in METRICS} for name in colorizers}
    first, *others = models
    differences = {
        f"{model} - {first}": {metric: values[model][metric] - values[first][metric] for metric in METRICS}
        for model in others
    }
    counts = {metric: weights * balance if metric == "auc_balanced" else weights for metric in METRICS}
    return _estimate(values, counts), _estimate(differences, counts)


def _estimate(
    values: Mapping[str, Mapping[str, NDArray[np.float64]]], weights: Mapping[str, NDArray[np.float64]]
) -> Results:
    return {
        name: {metric: estimate(each, weights[metric]) for metric, each in columns.items()}
        for name, columns in values.items()
    }


def column(rows: pa.Table, colorizer: str, name: str) -> NDArray[np.float64]:
    """Take a column of one colorizer, in the order of the photographs: (N,), NaN where it is null."""
    chosen = rows.filter(pc.equal(rows["colorizer"], colorizer)).sort_by("row")
    return chosen[name].to_numpy().astype(np.float64)


def to_json(results: Results) -> dict[str, Any]:
    """Turn results into plain data; what is not a number becomes None."""
    return {name: {metric: plain(each) for metric, each in found.items()} for name, found in results.items()}


def plain(found: Estimate) -> dict[str, Any]:
    """Turn an estimate into plain data; what is not a number becomes None."""
    return {key: value if math.isfinite(value) else None for key, value in asdict(found).items()}


def table(results: Results, metrics: Mapping[str, Metric] = METRICS) -> tuple[list[str], list[list[str]]]:
    """Write results for people: the head, and a line for each metric that was measured, the metric's title first."""
    arrows = {"high": " ↑", "low": " ↓", "0": " → 0", "1": " → 1", "": ""}
    head = ["", *results]
    lines = []
    for name, metric in metrics.items():
        if all(math.isnan(found[name].mean) for found in results.values()):
            continue
        title = metric.title + (f", {metric.unit}" if metric.unit else "") + arrows[metric.best]
        lines.append([title, *(words(found[name]) for found in results.values())])
    return head, lines


def words(found: Estimate) -> str:
    """Write an estimate for people: its value and its interval, a dash for what is not a number."""
    if math.isnan(found.mean):
        return "–"
    digits = 2 if abs(found.mean) >= 1 else 3
    interval = "" if math.isnan(found.low) else f" [{found.low:.{digits}f};{found.high:.{digits}f}]"
    return f"{found.mean:.{digits}f}{interval}"
