"""The metrics of single pictures that have no module of their own, and the list of all.

Pictures are (N, 3, H, W), sRGB in [0, 255]; results are (N,), one number a picture.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

BEST_PSNR = 100.0
"""What identical pictures have, dB: a mean needs a number."""
_RADIUS = 5  # of SSIM's window


@dataclass(frozen=True)
class Metric:
    """What a column of the results means."""

    title: str
    unit: str
    best: str
    """Where good values lie: "high", "low", or "0"."""
    meaning: str


METRICS = {
    "psnr": Metric("PSNR", "dB", "high", "peak signal-to-noise ratio of the rendered picture in sRGB"),
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
    "size_spread": Metric("spread over sizes", "", "low", "deviation of a*b* between three input sizes"),
    "lightness_error": Metric("L* error", "", "low", "mean difference of L* of the rendered picture from the true one"),
}
"""All columns of results, in the order in which they are shown. `auc_balanced` of a data set is a weighted mean."""


def psnr(pictures: Tensor, true: Tensor, peak: float = 255.0) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(peak² / MSE) over all channels and pixels.

    Args:
        pictures: (N, C, H, W), floating point.
        true: the same shape.
        peak: the largest difference that there can be.

    Returns:
        (N,) in dB, at most `BEST_PSNR`.
    """
    error = ((pictures - true) ** 2).mean((-3, -2, -1))
    return (10 * torch.log10(peak**2 / error)).clamp(max=BEST_PSNR)


def ssim(pictures: Tensor, true: Tensor) -> Tensor:
    """Structural similarity: Gaussian windows of 11 pixels with sigma 1.5, mean of windows and channels.

    Args:
        pictures: (N, 3, H, W), sRGB in [0, 255], at least 11 pixels a side.
        true: the same shape.

    Returns:
        (N,) in [-1, 1]; 1 for the truth itself.

    Source: Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13 (2004), as computed by torchmetrics.
    """
    # Its own mean takes in windows that reach over the rim.
    _, full = structural_similarity_index_measure(
        pictures, true, data_range=255.0, reduction="none", return_full_image=True
    )
    return full[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].mean((-3, -2, -1))


def colourfulness(pictures: Tensor, *, absolute: bool = False) -> Tensor:
    """Colourfulness M3: sqrt(s_rg² + s_yb²) + 0.3 sqrt(m_rg² + m_yb²), of the opponent channels' deviations and means.

    The opponent channels are rg = R - G and yb = (R + G) / 2 - B. Deviations divide by the number of pixels.

    Args:
        pictures: (N, 3, H, W), sRGB in [0, 255].
        absolute: take the opponent channels' absolute values, as X. Kang et al. do ("DDColor", ICCV 2023).

    Returns:
        (N,): 0 for gray, about 45 for an average photograph.

    Source: D. Hasler, S. Süsstrunk, "Measuring colourfulness in natural images", Human Vision and Electronic Imaging
    VIII (2003).
    """
    red, green, blue = pictures.unbind(1)
    opponent = torch.stack([red - green, (red + green) / 2 - blue], dim=1).flatten(2)
    if absolute:
        opponent = opponent.abs()
    deviation, mean = torch.std_mean(opponent, dim=2, correction=0)
    return torch.linalg.vector_norm(deviation, dim=1) + 0.3 * torch.linalg.vector_norm(mean, dim=1)


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
