"""Calibration of a colorizer over many photographs: what is pooled over all their pixels, with intervals.

All measures follow from weighted means over photographs of the columns that `columns` makes. So anyone can compute them
again from the rows of `measure.ROWS`, weighed as he likes. Formulas are in `colornet.metrics.calibration`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from colornet.evaluation.bootstrap import Estimate, estimate_draws, resampled_means, weighted_means
from colornet.evaluation.metrics import Metric
from colornet.evaluation.summary import Results, column
from colornet.metrics import calibration
from colornet.metrics.calibration import NEUTRAL_CHROMA, WORSE_THAN_GRAY, Moments

_MOMENTS = tuple(f"{name}_{channel}" for name in Moments._fields for channel in "ab")
PIXELS = (*_MOMENTS, "true_chroma", "chroma", "neutral", "neutral_chroma")
"""Columns of `measure.ROWS`: means over a photograph's pixels of true and predicted a* and b*, their squares and their
product; of true and predicted chroma; and the share of neutral pixels and the chroma painted on them, as
`colornet.metrics.calibration.neutral_chroma` has them."""

MEASURES = {
    "psnr_over_gray": Metric("PSNR over gray", "dB", "high", "mean PSNR less that of gray"),
    "psnr_over_mean_colour": Metric("PSNR over the mean colour", "dB", "high", "mean PSNR less that of one colour"),
    "auc_balanced_over_gray": Metric("AuC, balanced, over gray", "points", "high", "balanced AuC less that of gray"),
    "worse_than_gray": Metric(
        "worse than gray", "%", "low", f"share of photographs whose PSNR is over {WORSE_THAN_GRAY:g} dB below gray's"
    ),
    "gain_a": Metric("gain in a*", "", "1", "factor of the predicted a* that has the least squared error"),
    "gain_b": Metric("gain in b*", "", "1", "the same in b*"),
    "bias_a": Metric("bias in a*", "", "0", "mean predicted a* less the mean true one"),
    "bias_b": Metric("bias in b*", "", "0", "the same in b*"),
    "correlation_a": Metric("correlation in a*", "", "high", "of predicted with true a*, over all pixels"),
    "correlation_b": Metric("correlation in b*", "", "high", "the same in b*"),
    "chroma_correlation": Metric(
        "correlation of chroma", "", "high", "of pictures' mean predicted chroma with their mean true one"
    ),
    "error_between": Metric(
        "squared error between pictures", "", "low", "mean squared distance of pictures' mean a*b* from the true one"
    ),
    "error_within": Metric("squared error within pictures", "", "low", "the rest of the mean squared distance of a*b*"),
    "neutral_chroma": Metric(
        "chroma on neutral pixels", "", "low", f"mean, where the true chroma is below {NEUTRAL_CHROMA:g}"
    ),
    "colourfulness_of_true": Metric("colourfulness of the truth", "%", "", "mean colourfulness by the mean true one"),
}
"""All measures, in the order in which they are shown."""


def measure(predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Take the means of each photograph: (N, 2, H, W) a*b* twice to (N,) float64 for each of `PIXELS`."""
    moments = [channel for each in calibration.moments(predicted, true) for channel in each.unbind(-1)]
    chromas = [torch.linalg.vector_norm(each.double(), dim=1).mean((-2, -1)) for each in (true, predicted)]
    return dict(zip(PIXELS, [*moments, *chromas, *calibration.neutral_chroma(predicted, true)], strict=True))


def calibrate(
    rows: pa.Table,
    colorizers: Sequence[str],
    models: Sequence[str],
    trivial: tuple[str, str],
    weights: NDArray[np.float64],
) -> tuple[Results, Results]:
    """Estimate every measure of every colorizer, and its differences between models.

    Args:
        rows: as `summary.summarize` takes them.
        colorizers: names of all.
        models: names of those that are compared, each with the first.
        trivial: the names of gray and of the mean colour.
        weights: (N,), positive: how much each photograph counts, in their order.

    Returns:
        The results of the colorizers, and of the differences, which are called "B - A". Where one is not defined, such
        as the gain of gray, its value is NaN. Differences are those of the same draws of photographs.
    """
    values, draws = {}, {}
    for name in colorizers:
        found = _columns(rows, name, *trivial)
        every = np.stack(list(found.values()))
        values[name] = _measures(dict(zip(found, weighted_means(every, weights), strict=True)))
        draws[name] = _measures(dict(zip(found, resampled_means(every, weights), strict=True)))
    first, *others = models
    count = len(weights)
    results = {name: _estimates(values[name], draws[name], count) for name in colorizers}
    differences = {
        f"{name} - {first}": _estimates(_minus(values[name], values[first]), _minus(draws[name], draws[first]), count)
        for name in others
    }
    return results, differences


def over_gray(rows: pa.Table, colorizer: str, gray: str) -> NDArray[np.float64]:
    """PSNR of each photograph less that of gray: (N,), dB."""
    return column(rows, colorizer, "psnr") - column(rows, gray, "psnr")


def _columns(rows: pa.Table, name: str, gray: str, mean_colour: str) -> dict[str, NDArray[np.float64]]:
    """What the measures are means of: (N,) for each name."""
    known = {each: column(rows, name, each) for each in (*PIXELS, "psnr", "colourfulness", "auc_balanced", "balance")}
    moments = _moments(known)
    true_colourfulness = known["colourfulness"] - column(rows, name, "colourfulness_difference")
    gained = over_gray(rows, name, gray)
    return {
        **known,
        "error_between": calibration.squared_error_of_means(moments).numpy(),
        "chroma_squared": known["chroma"] ** 2,
        "true_chroma_squared": known["true_chroma"] ** 2,
        "chroma_product": known["chroma"] * known["true_chroma"],
        "true_colourfulness": true_colourfulness,
        "area": known["balance"] * known["auc_balanced"],
        "gray_area": known["balance"] * column(rows, gray, "auc_balanced"),
        "gained": gained,
        "gained_over_mean_colour": over_gray(rows, name, mean_colour),
        "worse": (gained < -WORSE_THAN_GRAY).astype(np.float64),
    }


def _measures(means: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Compute `MEASURES` of weighted means (...,) of columns: (...,) each."""
    moments = _moments(means)
    (gain_a, gain_b), (bias_a, bias_b), (correlation_a, correlation_b) = (
        each(moments).unbind(-1) for each in (calibration.gain, calibration.bias, calibration.correlation)
    )
    chroma = Moments(
        *(
            _tensor(means[name])
            for name in ("true_chroma", "chroma", "true_chroma_squared", "chroma_squared", "chroma_product")
        )
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN of what is not defined
        found = {
            "psnr_over_gray": means["gained"],
            "psnr_over_mean_colour": means["gained_over_mean_colour"],
            "auc_balanced_over_gray": (means["area"] - means["gray_area"]) / means["balance"],
            "worse_than_gray": 100 * means["worse"],
            "gain_a": gain_a,
            "gain_b": gain_b,
            "bias_a": bias_a,
            "bias_b": bias_b,
            "correlation_a": correlation_a,
            "correlation_b": correlation_b,
            "chroma_correlation": calibration.correlation(chroma),
            "error_between": means["error_between"],
            "error_within": calibration.squared_error(moments) - _tensor(means["error_between"]),
            "neutral_chroma": means["neutral_chroma"] / means["neutral"],
            "colourfulness_of_true": 100 * means["colourfulness"] / means["true_colourfulness"],
        }
    arrays = {name: np.asarray(each) for name, each in found.items()}
    return {name: np.where(np.isfinite(each), each, np.nan) for name, each in arrays.items()}


def _minus(
    one: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    return {name: one[name] - other[name] for name in MEASURES}


def _moments(means: Mapping[str, NDArray[np.float64]]) -> Moments:
    fields = ([_tensor(means[f"{name}_{channel}"]) for channel in "ab"] for name in Moments._fields)
    return Moments(*(torch.stack(channels, dim=-1) for channels in fields))


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.as_tensor(values)


def _estimates(
    values: Mapping[str, NDArray[np.float64]], draws: Mapping[str, NDArray[np.float64]], count: int
) -> dict[str, Estimate]:
    return {name: estimate_draws(float(values[name]), draws[name], count) for name in MEASURES}
