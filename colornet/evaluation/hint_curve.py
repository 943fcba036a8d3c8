"""How much better colour gets with hints: PSNR and CIEDE2000 against their number.

Hints tell the truth at random places: the mean true a*b* of the patch around each, at the size that the network sees.
The first of a photograph's places are those of its smaller numbers of hints, and the same for all bundles. So a curve
shows what hints are worth that nobody thought about; a person puts them where the colour is wrong.

Source of the curve: R. Zhang et al., "Real-Time User-Guided Image Colorization with Learned Deep Priors", ACM TOG 36
(2017), section 4.1.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from colornet.evaluation.bootstrap import Estimate, estimate
from colornet.evaluation.summary import column, plain, words
from colornet.inference.hints import Cells

if TYPE_CHECKING:  # loaded where it is used, because the job's workers need not load it
    from matplotlib.axes import Axes

PATCH = 7
"""Side of the patch whose mean colour is told, pixels at the size that the network sees."""
CURVES = {"hints_psnr": "PSNR, dB", "hints_ciede2000": "CIEDE2000"}
"""Columns of `measure.ROWS` with a value for each number of hints, and what they are called."""


@dataclass(frozen=True)
class Point:
    """What was measured with some hints a photograph."""

    hints: int
    psnr: Estimate
    psnr_over_none: Estimate
    """Less that without hints, dB."""
    ciede2000: Estimate


Curves = Mapping[str, Sequence[Point]]
"""By the models' names, those that take hints; points in the order of their hints."""


def draw_places(row: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw the places of a photograph's hints: (count, 2) in [0, 1), shares of height and width.

    Args:
        row: of the photograph; another has other places.
        count: how many. The first are the same for any count.
        seed: of the draws.
    """
    return np.random.default_rng((seed, row)).random((count, 2))


def reveal(ab: NDArray[np.float32], places: NDArray[np.float64]) -> Cells | None:
    """Tell the true colours at some places.

    Args:
        ab: (2, S, S), true a* and b* in [-128, 127], at the size that the network sees.
        places: as `draw_places` returns them.

    Returns:
        A hint for each pixel that holds a place, in the order of rows and columns: the means of the patches around
        them, which end at the edge. None without places.
    """
    if not len(places):
        return None
    size, radius = ab.shape[-1], PATCH // 2
    pixels = np.unique((places * size).astype(int), axis=0)
    around = [tuple(slice(max(0, at - radius), at + radius + 1) for at in pixel) for pixel in pixels.tolist()]
    colours = [ab[:, rows, columns].mean((1, 2)) for rows, columns in around]
    return np.concatenate([pixels, colours], axis=1).astype(np.float32)


def curves(rows: pa.Table, models: Sequence[str], counts: Sequence[int], weights: NDArray[np.float64]) -> Curves:
    """Estimate the points of each model that takes hints.

    Args:
        rows: of `measure.ROWS`, as `summary.summarize` takes them.
        models: names of all models.
        counts: the numbers of hints that were measured, in their order.
        weights: (N,), positive: how much each photograph counts, in their order.
    """
    found = {}
    for model in models:
        own = rows.filter(pc.equal(rows["colorizer"], model)).sort_by("row")
        if not counts or own["hints_psnr"].null_count:
            continue
        psnr, ciede2000 = (np.array(own[name].to_pylist(), np.float64).T for name in CURVES)
        none = column(rows, model, "psnr")
        found[model] = [
            Point(count, *(estimate(each, weights) for each in (psnr[place], psnr[place] - none, ciede2000[place])))
            for place, count in enumerate(counts)
        ]
    return found


def to_json(found: Curves) -> dict[str, Any]:
    """Turn curves into plain data; what is not a number becomes None."""
    names = ("psnr", "psnr_over_none", "ciede2000")
    return {
        model: [{"hints": each.hints, **{name: plain(getattr(each, name)) for name in names}} for each in points]
        for model, points in found.items()
    }


def table(found: Curves) -> tuple[list[str], list[list[str]]]:
    """Write curves, at least one, for people: the head, and a line for each number of hints."""
    head, lines = ["hints"], [[str(each.hints)] for each in next(iter(found.values()))]
    for model, points in found.items():
        head += [f"{model}: PSNR, dB ↑", f"{model}: over none, dB ↑", f"{model}: CIEDE2000 ↓"]
        for line, each in zip(lines, points, strict=True):
            line += map(words, (each.psnr, each.psnr_over_none, each.ciede2000))
    return head, lines


def plot(found: Curves) -> bytes:
    """Draw curves, at least one, with the intervals of their points: left PSNR, right CIEDE2000; a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for model, points in found.items():
        name = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in model)
        _draw(left, name, [each.hints for each in points], [each.psnr for each in points])
        _draw(right, name, [each.hints for each in points], [each.ciede2000 for each in points])
    for axes, label in zip((left, right), CURVES.values(), strict=True):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks([each.hints for each in next(iter(found.values()))])
        axes.get_xaxis().set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.set_xlabel("hints a photograph, at random places")
        axes.set_ylabel(label)
    for text in left.legend(frameon=False, fontsize="small").get_texts():
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(axes: Axes, name: str, counts: list[int], found: list[Estimate]) -> None:
    (line,) = axes.plot(counts, [each.mean for each in found], "o-", markersize=4, label=name)
    if not any(math.isnan(each.low) for each in found):
        axes.fill_between(
            counts, [each.low for each in found], [each.high for each in found], color=line.get_color(), alpha=0.15
        )
