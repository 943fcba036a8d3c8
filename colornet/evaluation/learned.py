"""A bundle as a colorizer of pictures of any size: its generator's colour, spread as the archive job spreads it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from colornet.color import lab
from colornet.inference.bundle import Bundle
from colornet.inference.hints import Cells
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import Predictor
from colornet.rendering.render import RenderSettings, held, small_colour

FRACTIONS = (0.5, 0.75, 1.0)
"""Input sizes that are compared, of the bundle's own: for 256, those of 128, 192 and 256 pixels.

They need not be multiples of anything: a generator pads its input to its own stride.
"""


class Learned:
    """Predicts with a bundle's generator at the size that it was trained for, in the arithmetic of the archive job."""

    def __init__(self, bundle: Bundle, device: str = "cpu", settings: RenderSettings | None = None) -> None:
        """Take over a bundle, whose generator is moved to the device; its colour gets the strength of the settings."""
        self.size = bundle.image_size
        self.settings = settings or RenderSettings()
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

    def with_hints(self, lightness: Tensor, hints: Sequence[Cells | None]) -> Tensor:
        """Colour pictures as a call does, with colours that are known at some places.

        Args:
            lightness: (N, 1, S, S), L* in [0, 100].
            hints: N of them, in pixels of `size`; None for none.

        Returns:
            (N, 2, S, S) float32, a*b*.

        Raises:
            SettingsError: if there are hints, and the bundle takes none.
        """
        return self._at_size(lightness, self.size, hints)[0]

    def seen(self, planes: Tensor) -> NDArray[np.float32]:
        """Bring planes of pictures, (N, C, S, S), to the size that the network sees."""
        return _resize(planes, self.size).numpy().astype(np.float32)

    def _at_size(
        self, lightness: Tensor, size: int, hints: Sequence[Cells | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        known = hints or [None] * len(lightness)
        small = _resize(lightness, size).squeeze(1)
        scaled = lab.scale_lightness(small).clamp(-1, 1).numpy().astype(np.float16)
        whole = Letterbox(0, 0, size, size)
        predictions = self.predictor.predict(scaled, [whole] * len(scaled), known)
        pictures = zip(predictions, small.numpy().astype(np.float32), known, strict=True)
        ab = np.stack(
            [small_colour(each, whole, gray, self.settings, held(told, whole)) for each, gray, told in pictures]
        )
        sure = [torch.nan if each.confidence is None else each.confidence for each in predictions]
        return _resize(torch.from_numpy(ab), lightness.shape[-1]), torch.tensor(sure).double()


def _resize(planes: Tensor, size: int) -> Tensor:
    """Bring square pictures to another size; averaging over areas where it is smaller."""
    if planes.shape[-1] == size:
        return planes
    return functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
