"""sRGB <-> CIE-LAB (D65, 2° observer) on tensors, and the scaling of L*, a*, b* that the networks see.

kornia converts between the two, with the primaries and the transfer function of `colornet.color.srgb`; its white point
differs from the sum of the primaries in the fifth digit. What is computed here takes its numbers from there.

Tensors are channels-first, (..., 3, H, W) for pictures; sRGB in [0, 1], L* in [0, 100], a* and b* in [-128, 127].
"""

import kornia.color
import torch
from torch import Tensor

from colornet.color import srgb


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert gamma-encoded sRGB to CIE-LAB.

    Args:
        rgb: (..., 3, H, W), floating point, in [0, 1].

    Returns:
        (..., 3, H, W) of the same dtype: L* in [0, 100], a* and b* about [-86.2, 98.3] and [-107.9, 94.5].

    Source: IEC 61966-2-1 (sRGB) and CIE 15 (LAB), as computed by `kornia.color.rgb_to_lab`.
    """
    return kornia.color.rgb_to_lab(rgb)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE-LAB to gamma-encoded sRGB, clipping what lies outside the gamut.

    Args:
        lab: (..., 3, H, W), floating point: L* in [0, 100], a* and b* in [-128, 127].

    Returns:
        (..., 3, H, W) of the same dtype, in [0, 1].

    Clipping changes L*: it is for panels and plots. `colornet.rendering.lab_to_srgb` renders scans and keeps L*.
    """
    return kornia.color.lab_to_rgb(lab, clip=True)


def gray_of_lightness(lightness: Tensor) -> Tensor:
    """Turn L* in [0, 100] into the gamma-encoded sRGB value, in [0, 1], of the gray that has it.

    Source: CIE 15 (LAB) and IEC 61966-2-1 (sRGB).
    """
    root = (lightness + srgb.F_OFFSET) / srgb.F_SCALE
    line = lightness * srgb.LUMINANCE_PER_LIGHTNESS
    luminance = torch.where(lightness > srgb.LIGHTNESS_BEND, root**3, line).clamp(0, 1)
    power = (1 + srgb.OFFSET) * luminance ** (1 / srgb.GAMMA) - srgb.OFFSET
    return torch.where(luminance > srgb.LINEAR_BEND, power, srgb.LINEAR_SLOPE * luminance)


def scale_lightness(lightness: Tensor) -> Tensor:
    """Map L* in [0, 100] to the networks' [-1, 1]."""
    return lightness / 50.0 - 1.0


def unscale_lightness(scaled: Tensor) -> Tensor:
    """Map the networks' [-1, 1] back to L* in [0, 100]."""
    return (scaled + 1.0) * 50.0


def scale_ab(ab: Tensor) -> Tensor:
    """Map a*, b* in [-128, 127] to the networks' [-1, 1]."""
    return (ab + 128.0) / 255.0 * 2.0 - 1.0


def unscale_ab(scaled: Tensor) -> Tensor:
    """Map the networks' [-1, 1] back to a*, b* in [-128, 127]."""
    return (scaled + 1.0) / 2.0 * 255.0 - 128.0


def split_scaled(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Turn photographs into what the networks train on.

    Args:
        rgb: (B, 3, H, W), uint8 in [0, 255] or floating point in [0, 1].

    Returns:
        Scaled L* (B, 1, H, W) and scaled a*b* (B, 2, H, W), float32, in [-1, 1].
    """
    if not rgb.is_floating_point():
        rgb = rgb.to(torch.float32) / 255.0
    lab = rgb_to_lab(rgb)
    return scale_lightness(lab[:, :1]), scale_ab(lab[:, 1:])


def join_scaled(lightness: Tensor, ab: Tensor) -> Tensor:
    """Turn scaled L* (B, 1, H, W) and scaled a*b* (B, 2, H, W) into sRGB (B, 3, H, W), float, in [0, 1]."""
    return lab_to_rgb(torch.cat([unscale_lightness(lightness), unscale_ab(ab)], dim=1))
