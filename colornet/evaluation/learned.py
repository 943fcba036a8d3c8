"""A bundle as a colorizer of pictures of any size."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from colornet.color import lab
from colornet.inference.bundle import Bundle
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import Predictor

FRACTIONS = (0.5, 0.75, 1.0)
"""Input sizes that are compared, of the bundle's own: for 256, those of 128, 192 and 256 pixels.

They need not be multiples of anything: a generator pads its input to its own stride.
"""


class Learned:
    """Predicts with a bundle's generator at the size that it was trained for, in the arithmetic of the archive job."""

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        """Take over a bundle, whose generator is moved to the device."""
        self.size = bundle.image_size
        self.predictor = Predictor(bundle, device=device)

    def __call__(self, lightness: Tensor) -> Tensor:
        """Colour pictures: L* (N, 1, S, S) in [0, 100] to a*b* (N, 2, S, S) float32."""
        return self._at_size(lightness, self.size)[0]

    def at_sizes(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        """Colour pictures from inputs of three sizes, and their confidence.

        Args:
            lightness: (N, 1, S, S), L* in [0, 100].

        Returns:
            (3, N, 2, S, S) float32, a*b*, that of the bundle's own size last; and (N,) float64, the confidence of that
            one in [0, 1], as the archive job writes it, NaN of generators that predict no distribution.
        """
        sizes = [max(1, round(self.size * fraction)) for fraction in FRACTIONS]
        colours, confidences = zip(*(self._at_size(lightness, size) for size in sizes), strict=True)
        return torch.stack(colours), confidences[-1]

    def _at_size(self, lightness: Tensor, size: int) -> tuple[Tensor, Tensor]:
        scaled = lab.scale_lightness(_resize(lightness, size)).squeeze(1).clamp(-1, 1)
        whole = [Letterbox(0, 0, size, size)] * len(scaled)
        ab, confidences = zip(*self.predictor.predict(scaled.numpy().astype(np.float16), whole), strict=True)
        known = [torch.nan if confidence is None else confidence for confidence in confidences]
        return _resize(torch.from_numpy(np.stack(ab)).float(), lightness.shape[-1]), torch.tensor(known).double()


def _resize(planes: Tensor, size: int) -> Tensor:
    """Bring square pictures to another size; averaging over areas where it is smaller."""
    if planes.shape[-1] == size:
        return planes
    return functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
