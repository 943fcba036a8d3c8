"""The colourfulness of Hasler and Süsstrunk.

It is another number than the mean chroma, the mean of sqrt(a*² + b*²), of training's history and the archive's ledger.
"""

import torch
from torch import Tensor


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
