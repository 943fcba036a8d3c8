"""Taking the colour out of a picture and keeping its lightness."""

import numpy as np
import torch
from numpy.typing import NDArray

from colornet.color import lab


def to_gray(rgb: NDArray[np.uint8], levels: int = 255) -> NDArray[np.float32]:
    """Return the gray picture of the same L*, (H, W) float32, gamma-encoded, from 0 to `levels`, not rounded."""
    gray = lab.rgb_to_lab(_channels_first(rgb))
    gray[1:] = 0
    return lab.lab_to_rgb(gray)[1].numpy() * levels


def lab_of(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return L*, a*, b*, (H, W, 3) float32, of an sRGB picture (H, W, 3) uint8."""
    return lab.rgb_to_lab(_channels_first(rgb)).permute(1, 2, 0).numpy()


def _channels_first(rgb: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(rgb.astype(np.float32) / 255.0).permute(2, 0, 1)
