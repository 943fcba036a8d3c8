"""How much colour a picture has: chroma is the length of (a*, b*)."""

import torch
from torch import Tensor

NEARLY_GRAY_CHROMA = 5.0
"""Mean chroma below which a picture is nearly gray. Most colour photographs have 8 to 40."""
COLOURFUL_CHROMA = 15.0
"""Chroma from which a pixel has a colour that nobody would call gray."""
COLOURFUL_SHARE = 0.02
"""Share of such pixels from which a picture is worth learning from, however gray the rest."""


def chroma(ab: Tensor) -> Tensor:
    """Return the chroma, (B, 1, H, W) float32, of (B, 2, H, W) in units of a*b*.

    `vector_norm` over so short a dimension takes a hundred times as long on CPUs.
    """
    a, b = ab.float().unbind(1)
    return torch.hypot(a, b).unsqueeze(1)


def is_nearly_gray(ab: Tensor) -> Tensor:
    """Tell which pictures have next to no colour to learn from.

    Nearly gray means a mean chroma below `NEARLY_GRAY_CHROMA`, and less than `COLOURFUL_SHARE` of the pixels above
    `COLOURFUL_CHROMA`: a red coat in the snow is worth keeping.

    Args:
        ab: (B, 2, H, W), floating point, in units of a*b* (not scaled).

    Returns:
        (B,) bool.
    """
    chromas = chroma(ab).flatten(1)
    colourful = (chromas > COLOURFUL_CHROMA).float().mean(1)
    return (chromas.mean(1) < NEARLY_GRAY_CHROMA) & (colourful < COLOURFUL_SHARE)
