"""A generator made ready for inference."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from colornet import color
from colornet.bundle import Bundle
from colornet.networks import fold_normalisation

Precision = Literal["auto", "float32", "bfloat16"]


class Predictor:
    """A bundle's generator: folded, channels-last, in bfloat16 where the processor has it."""

    def __init__(self, bundle: Bundle, *, device: str = "cpu", precision: Precision = "auto") -> None:
        """Move the bundle's generator to `device`. It is changed in place: the bundle is used up."""
        self.device = torch.device(device)
        self.dtype = _dtype(self.device, precision)
        generator = fold_normalisation(bundle.generator)
        self.generator = generator.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, lightness: NDArray[np.float16]) -> NDArray[np.float16]:
        """Predict colour for one batch.

        Args:
            lightness: (B, S, S) float16, scaled L* in [-1, 1].

        Returns:
            (B, 2, S, S) float16: a* and b* in [-128, 127]. On a CPU each picture is predicted by itself: this is
            the fastest there, and makes the result independent of the pictures beside it.
        """
        scaled = torch.from_numpy(lightness).unsqueeze(1)
        parts = scaled.split(1) if self.device.type == "cpu" else (scaled,)
        return np.concatenate([self._predict(part) for part in parts])

    def _predict(self, scaled: torch.Tensor) -> NDArray[np.float16]:
        inputs = scaled.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        ab = color.unscale_ab(self.generator(inputs).float())
        return ab.to(torch.float16).cpu().numpy()


def _dtype(device: torch.device, precision: Precision) -> torch.dtype:
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Without AVX512-BF16 a processor only emulates bfloat16, and slowly.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
