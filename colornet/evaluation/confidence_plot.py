"""Confidence against error, drawn with matplotlib: every photograph, and the risk-coverage curve."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colornet.evaluation.confidence import ERROR, SelectiveRisk

if TYPE_CHECKING:  # loaded where it is used, because the job's workers need not load it
    from matplotlib.axes import Axes

_DOTS, _CONFIDENT, _ORACLE, _RANDOM = "tab:blue", "tab:red", "tab:green", "tab:gray"
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": "small"}


def plot(
    found: Mapping[str, SelectiveRisk],
    confidences: Sequence[NDArray[np.float64]],
    errors: Sequence[NDArray[np.float64]],
) -> bytes:
    """Draw a row for each model: left its photographs, right the risk-coverage curve.

    Args:
        found: the selective risk of each model, by its name; at least one.
        confidences: (N,) of each, in the same order, NaN where a photograph has none.
        errors: (N,) of each, mean a*b* distances.

    Returns:
        A PNG, 1500 pixels wide.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2 * len(found)), dpi=150, layout="constrained")
    rows = figure.subfigures(len(found), squeeze=False)[:, 0]
    for row, (name, each), confidence, error in zip(rows, found.items(), confidences, errors, strict=True):
        printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
        row.suptitle(printable, parse_math=False)
        dots, curve = row.subplots(1, 2)
        _draw_photographs(dots, each, confidence, error)
        _draw_curve(curve, each)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_photographs(
    axes: Axes, found: SelectiveRisk, confidence: NDArray[np.float64], error: NDArray[np.float64]
) -> None:
    axes.plot(confidence, error, ".", color=_DOTS, alpha=0.5, markersize=5, label="a photograph")
    means = [each.confidence for each in found.deciles], [each.error for each in found.deciles]
    axes.plot(*means, "o-", color=_CONFIDENT, label="mean of a tenth")
    correlation = found.rank_correlation[ERROR].value
    axes.set_title("" if correlation is None else f"rank correlation {correlation:.2f}", fontsize="medium")
    axes.set_xlabel("confidence")
    axes.set_ylabel("mean a*b* distance")
    axes.set_ylim(bottom=0)
    axes.legend(**_LEGEND)


def _draw_curve(axes: Axes, found: SelectiveRisk) -> None:
    axes.axhline(found.risk, color=_RANDOM, linestyle="--", label="random order")
    axes.plot(found.coverages, found.risks, "o-", color=_CONFIDENT, markersize=4, label="most confident first")
    axes.plot(found.coverages, found.oracle_risks, ":", color=_ORACLE, label="least error first (oracle)")
    means = f"all {found.risk:.1f}, most confident half {found.most_confident_half:.1f}"
    axes.set_title(f"least confident tenth {found.least_confident_tenth:.1f}, {means}", fontsize="medium")
    axes.set_xlabel("coverage: photographs that are kept, %")
    axes.set_ylabel("risk: their mean a*b* distance")
    axes.set_xlim(0, 102)
    axes.set_ylim(bottom=0)
    axes.legend(**_LEGEND)
