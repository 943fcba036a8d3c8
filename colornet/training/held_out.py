"""Metrics on held-out photographs: the discriminator's accuracy, and the generator's error, chroma and calibration."""

import functools
import math

import torch
from torch import Tensor

from colornet.color import lab
from colornet.metrics import calibration
from colornet.metrics.calibration import WORSE_THAN_GRAY, Moments
from colornet.metrics.psnr import psnr
from colornet.training.distributed import ratio, sum_over_workers
from colornet.training.gan import GanModule


class HeldOut:
    """This worker's share of the held-out photographs. Metrics are of the photographs of all workers together.

    All workers must compute the same metrics at the same time.
    """

    def __init__(self, photographs: Tensor, gan: GanModule, batch_size: int) -> None:
        """Prepare the photographs.

        Args:
            photographs: (N, 3, S, S), sRGB uint8, on the CPU. N may be 0, and differ from that of other workers.
            gan: the networks.
            batch_size: how many photographs go through a network at once.
        """
        self.photographs = photographs
        self._gan = gan
        self._batch_size = batch_size

    @functools.cached_property
    def _pictures(self) -> list[tuple[Tensor, Tensor]]:
        """Scaled L*, not degraded, and scaled a*b* of each batch, on the device."""
        batches = self.photographs.split(self._batch_size) if len(self.photographs) else ()
        return [lab.split_scaled(batch.to(self._gan.device)) for batch in batches]

    @functools.cached_property
    def _gray_psnr(self) -> list[Tensor]:
        """PSNR of each batch's photographs without colour, dB: what colour must beat."""
        return [
            _psnr(lightness, lab.scale_ab(torch.zeros_like(ab)), lab.join_scaled(lightness, ab))
            for lightness, ab in self._pictures
        ]

    def colorize(self, *, use_ema: bool) -> list[Tensor]:
        """Predict the scaled a*b* of each batch; `use_ema` as in `GanModule.colorize`."""
        return [self._gan.colorize(lightness, use_ema=use_ema) for lightness, _ in self._pictures]

    def accuracy(self, predicted: list[Tensor]) -> float:
        """Return the discriminator's accuracy, in [0, 1], on as many real as predicted pictures; NaN of none."""
        counts = self._counts(2)
        for (lightness, ab), fake in zip(self._pictures, predicted, strict=True):
            right = self._gan.count_correct(lightness, ab, fake)
            counts += torch.stack([right, torch.full_like(right, 2 * len(fake))])
        return ratio(*sum_over_workers(counts).tolist())

    def compare(self, predicted: list[Tensor]) -> dict[str, float]:
        """Compare predicted with true colour.

        Returns:
            held_out_error: the mean distance of predicted from true a*b*, in their units; mean_chroma: the mean
            length of (a*, b*); hue_concentration: the length of the mean (a*, b*), divided by that, in [0, 1]; and the
            latter two of the true colour, with true_ before their names; psnr: of the pictures in sRGB, dB, the mean
            over the photographs; worse_than_gray: the share of photographs, in [0, 1], whose PSNR is more than
            `calibration.WORSE_THAN_GRAY` below that of gray; gain, bias and correlation, with _a and _b behind their
            names: those of `colornet.metrics.calibration`, of all pixels.
        """
        sums = self._counts(7)
        moments = self._counts(len(Moments._fields), 2)
        for (lightness, scaled), gray, fake in zip(self._pictures, self._gray_psnr, predicted, strict=True):
            decibels = _psnr(lightness, fake, lab.join_scaled(lightness, scaled))
            worse = (decibels < gray - WORSE_THAN_GRAY).sum()
            truth, colour = lab.unscale_ab(scaled).double(), lab.unscale_ab(fake).double()
            lengths = [pixels.norm(dim=1).sum() for pixels in (colour - truth, colour, truth)]
            counted = [torch.full_like(lengths[0], count) for count in (truth[:, 0].numel(), len(truth))]
            sums += torch.stack([*lengths, decibels.sum(), worse, *counted])
            moments += torch.stack(calibration.moments(colour, truth)).sum(1)
        error, chroma, true_chroma, total, worse, pixels, count = sum_over_workers(sums).tolist()
        means = Moments(*(sum_over_workers(moments) / (count or math.nan)))
        return {
            "held_out_error": ratio(error, pixels),
            "mean_chroma": ratio(chroma, pixels),
            "true_mean_chroma": ratio(true_chroma, pixels),
            "hue_concentration": ratio(means.predicted.norm().item() * pixels, chroma),
            "true_hue_concentration": ratio(means.true.norm().item() * pixels, true_chroma),
            "psnr": ratio(total, count),
            "worse_than_gray": ratio(worse, count),
            **_by_channel("gain", calibration.gain(means)),
            **_by_channel("bias", calibration.bias(means)),
            **_by_channel("correlation", calibration.correlation(means)),
        }

    def _counts(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self._gan.device, dtype=torch.float64)


def _psnr(lightness: Tensor, ab: Tensor, true: Tensor) -> Tensor:
    """PSNR in sRGB of scaled L* (N, 1, S, S) with scaled a*b* (N, 2, S, S), from true pictures (N, 3, S, S): (N,)."""
    return psnr(lab.join_scaled(lightness, ab), true, peak=1)


def _by_channel(name: str, values: Tensor) -> dict[str, float]:
    return dict(zip((f"{name}_a", f"{name}_b"), values.tolist(), strict=True))
