"""Metrics on held-out photographs: the discriminator's accuracy, and the generator's error and chroma."""

import functools

import torch
from torch import Tensor

from colornet.color import lab
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
            over the photographs.
        """
        sums = self._counts(10)
        for (lightness, truth), fake in zip(self._pictures, predicted, strict=True):
            decibels = psnr(lab.join_scaled(lightness, fake), lab.join_scaled(lightness, truth), peak=1)
            truth, fake = lab.unscale_ab(truth).double(), lab.unscale_ab(fake).double()
            lengths = [pixels.norm(dim=1).sum() for pixels in (fake - truth, fake, truth)]
            means = [pixels.sum(dim=(0, 2, 3)) for pixels in (fake, truth)]
            counted = [torch.full_like(lengths[0], count) for count in (truth[:, 0].numel(), len(truth))]
            sums += torch.stack([*lengths, *means[0], *means[1], decibels.sum(), *counted])
        error, chroma, true_chroma, a, b, true_a, true_b, total, pixels, count = sum_over_workers(sums).tolist()
        return {
            "held_out_error": ratio(error, pixels),
            "mean_chroma": ratio(chroma, pixels),
            "true_mean_chroma": ratio(true_chroma, pixels),
            "hue_concentration": ratio(abs(complex(a, b)), chroma),
            "true_hue_concentration": ratio(abs(complex(true_a, true_b)), true_chroma),
            "psnr": ratio(total, count),
        }

    def _counts(self, number: int) -> Tensor:
        return torch.zeros(number, device=self._gan.device, dtype=torch.float64)
