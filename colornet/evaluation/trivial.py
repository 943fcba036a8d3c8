"""The colorizers that any other must beat: one colour for all pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Constant:
    """Gives every pixel of every photograph the same a*b*. Gray is `Constant(0, 0)`."""

    a: float
    """a*, in [-128, 127]."""
    b: float
    """b*, in [-128, 127]."""

    def __call__(self, lightness: Tensor) -> Tensor:
        """Colour pictures: L* (N, 1, H, W) in [0, 100] to a*b* (N, 2, H, W)."""
        colour = torch.tensor([self.a, self.b], dtype=lightness.dtype)
        return colour.reshape(1, 2, 1, 1).expand(len(lightness), 2, *lightness.shape[-2:])

    def at_sizes(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        """Colour pictures as from inputs of several sizes, for all the same, with no confidence.

        From (N, 1, H, W) to (1, N, 2, H, W), and (N,) NaN.
        """
        return self(lightness).unsqueeze(0), torch.full((len(lightness),), torch.nan)
