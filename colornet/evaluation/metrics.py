"""The list of all metrics of a colorizer, and two that only an evaluation needs."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """What a column of the results means."""

    title: str
    unit: str
    best: Literal["high", "low", "0", "1", ""]
    """Where good values lie; empty where that is not known."""
    meaning: str


METRICS = {
    "psnr": Metric("PSNR", "dB", "high", "peak signal-to-noise ratio of the rendered picture in sRGB, at most 54.15"),
    "psnr_ab": Metric("PSNR of a*b*", "dB", "high", "the same of predicted a*b*, for a peak of 255"),
    "ssim": Metric("SSIM", "", "high", "structural similarity in sRGB, mean of the channels; 1 is identical"),
    "lpips": Metric("LPIPS", "", "low", "perceptual distance of the rendered picture, where weights for it are given"),
    "ciede2000": Metric("CIEDE2000", "", "low", "mean colour difference of the rendered picture"),
    "ab_distance": Metric("a*b* distance", "", "low", "mean distance of predicted from true a*b*"),
    "auc": Metric("AuC", "%", "high", "area under the curve of a*b* errors up to 150"),
    "auc_balanced": Metric("AuC, balanced", "%", "high", "the same, with rare colours made to count as frequent"),
    "colourfulness": Metric("colourfulness", "", "", "of the rendered picture, by Hasler and Süsstrunk"),
    "colourfulness_difference": Metric("colourfulness - true", "", "0", "the same, less that of the photograph"),
    "colourfulness_absolute": Metric("colourfulness, abs.", "", "", "of absolute opponent channels, as DDColor has it"),
    "colourfulness_absolute_difference": Metric("colourfulness, abs. - true", "", "0", "that, less the photograph's"),
    "bleeding": Metric("edge bleeding", "", "0", "share of colour's change off luminance edges, less the true one"),
    "blotches": Metric("blotches", "", "", "deviation of a*b* among near pixels alike in L*; less in paler colour"),
    "size_spread": Metric("spread over sizes", "", "low", "deviation of a*b* between three input sizes"),
    "lightness_error": Metric("L* error", "", "low", "mean difference of L* of the rendered picture from the true one"),
}
"""All columns of results, in the order in which they are shown. `auc_balanced` of a data set is a weighted mean."""


def lightness_error(lightness: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of L*: (N, H, W) twice, in [0, 100], to (N,)."""
    return (lightness - true).abs().mean((-2, -1))


def size_spread(predictions: Tensor) -> Tensor:
    """How far predictions of the same pictures lie apart.

    Args:
        predictions: (K, N, 2, H, W), a* and b* predicted K times, from inputs of K sizes.

    Returns:
        (N,): root of the mean squared distance of a*b* from the mean of the K predictions, in units of a*b*.
    """
    apart = predictions - predictions.mean(0)
    return (apart**2).sum(2).mean((0, -2, -1)).sqrt()
