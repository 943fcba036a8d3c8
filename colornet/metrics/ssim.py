"""The structural similarity (SSIM)."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

_RADIUS = 5  # of the window


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
    # torchmetrics' own mean takes in windows that reach over the rim.
    _, full = structural_similarity_index_measure(
        pictures, true, data_range=255.0, reduction="none", return_full_image=True
    )
    return full[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].mean((-3, -2, -1))
