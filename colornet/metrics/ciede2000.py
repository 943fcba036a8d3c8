"""The colour difference CIEDE2000, on tensors."""

import torch
from torch import Tensor


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """Compute the colour difference of CIE-LAB colours, with all three weights (kL, kC, kH) 1.

    Args:
        first: (..., 3, H, W), floating point: L* in [0, 100], a* and b* in [-128, 127].
        second: the same shape.

    Returns:
        (..., H, W), at least 0; about 1 is the least that is seen. Symmetric.

    Source: G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary
    test data, and mathematical observations", Color Research & Application 30 (2005).
    """
    (lightness_1, a_1, b_1), (lightness_2, a_2, b_2) = first.unbind(-3), second.unbind(-3)
    stretch = 1 + 0.5 * (1 - _chroma_share((torch.hypot(a_1, b_1) + torch.hypot(a_2, b_2)) / 2))
    chroma_1, hue_1 = _polar(stretch * a_1, b_1)
    chroma_2, hue_2 = _polar(stretch * a_2, b_2)
    lightness, chroma = (lightness_1 + lightness_2) / 2, (chroma_1 + chroma_2) / 2
    turn = hue_2 - hue_1
    turn = torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn))
    hue = _mean_hue(hue_1, hue_2)

    # Where a colour is gray its hue is arbitrary, and the difference of hues is 0 by its factor.
    hue_difference = 2 * (chroma_1 * chroma_2).sqrt() * _sin(turn / 2)
    t = 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.20 * _cos(4 * hue - 63)
    squared = (lightness - 50) ** 2
    l_term = (lightness_2 - lightness_1) / (1 + 0.015 * squared / (20 + squared).sqrt())
    c_term = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)
    h_term = hue_difference / (1 + 0.015 * chroma * t)
    rotation = -2 * _chroma_share(chroma) * _sin(60 * torch.exp(-(((hue - 275) / 25) ** 2)))
    return (l_term**2 + c_term**2 + h_term**2 + rotation * c_term * h_term).clamp(min=0).sqrt()


def _chroma_share(chroma: Tensor) -> Tensor:
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    power = chroma**7
    return (power / (power + 25.0**7)).sqrt()


def _polar(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return chroma, and hue in degrees from 0 to 360."""
    return torch.hypot(a, b), torch.rad2deg(torch.atan2(b, a)) % 360


def _mean_hue(first: Tensor, second: Tensor) -> Tensor:
    total = first + second
    far = (first - second).abs() > 180
    return torch.where(far, torch.where(total < 360, total + 360, total - 360), total) / 2


def _sin(degrees: Tensor) -> Tensor:
    return torch.sin(torch.deg2rad(degrees))


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(torch.deg2rad(degrees))
