"""Is a scan already in colour? Sepia and other toned prints are monochrome; photographs in colour are not."""

import numpy as np
import torch
from numpy.typing import NDArray

from colornet.color import lab

COLOURFUL = 6.0
"""Colour beyond the tone, in units of a*b*, from which a scan counts as being in colour already."""
_BINS = 24


def colour_beyond_tone(rgb: NDArray[np.uint8]) -> float:
    """Measure how much colour a picture has that its luminance does not explain.

    Sepia, cyanotype, selenium: a toned print has one colour for each L*. How far a*b* lie from their mean at the same
    L* is what no toner explains: little for stains and uneven fading, much for the colours of things.

    Args:
        rgb: (H, W, 3) uint8, sRGB; a thumbnail will do.

    Returns:
        The root mean square of that distance, in units of a*b*.
    """
    pixels = lab.rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / 255.0).permute(2, 0, 1))
    lightness, ab = pixels[0].flatten(), pixels[1:].flatten(1)
    tone = (lightness * (_BINS / 100.0)).long().clamp(0, _BINS - 1)
    count = torch.bincount(tone, minlength=_BINS).clamp(min=1)
    mean = torch.stack([torch.bincount(tone, channel, _BINS) for channel in ab]) / count
    return float((ab - mean[:, tone]).square().sum(0).mean().sqrt())
