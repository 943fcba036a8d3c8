"""How much colour a picture has: chroma is the length of (a*, b*)."""

import torch
from torch import Tensor

NEARLY_GRAY_CHROMA = 5.0
"""Mean chroma below which a picture is nearly gray. Most colour photographs have 8 to 40."""
COLOURFUL_CHROMA = 15.0
"""Chroma from which a pixel has a colour that nobody would call gray."""
COLOURFUL_SHARE = 0.02
"""Share of such pixels from which a picture is worth learning from, however gray the rest."""


def is_nearly_gray(ab: Tensor) -> Tensor:
    """Tell which pictures have next to no colour to learn from.

    Nearly gray means a mean chroma below `NEARLY_GRAY_CHROMA`, and less than `COLOURFUL_SHARE` of the pixels above
    `COLOURFUL_CHROMA`: a red coat in the snow is worth keeping.

    Args:
        ab: (B, 2, H, W), floating point, in units of a*b* (not scaled).

    Returns:
        (B,) bool.
    """
    chroma = torch.linalg.vector_norm(ab.float(), dim=1).flatten(1)
    colourful = (chroma > COLOURFUL_CHROMA).float().mean(1)
    return (chroma.mean(1) < NEARLY_GRAY_CHROMA) & (colourful < COLOURFUL_SHARE)
