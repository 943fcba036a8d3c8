"""A conditional discriminator: tells real from predicted a*b*, given L*, for overlapping patches of a picture."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colornet.errors import SettingsError

MIN_SIZE = 24
"""Smallest height and width, pixels, for which there is a logit."""


class PatchDiscriminator(nn.Module):
    """PatchGAN with spectral normalisation: its input is L*a*b*, and each logit has a receptive field of 70×70 pixels.

    There is no other normalisation. With batch normalisation a logit would depend on the other pictures of the batch;
    instance normalisation would remove the mean of each feature, and so the picture's saturation.

    Source: Isola et al. 2017 (pix2pix), appendix 6.1.2, for the layers; Miyato et al. 2018 for the normalisation.
    """

    def __init__(self, *, width: int = 64) -> None:
        """Build the network; `width` is the number of channels of the first convolution."""
        super().__init__()
        if width < 1:
            raise SettingsError(f"width must be at least 1, not {width}")
        leaky = nn.LeakyReLU(0.2)
        self.verdicts = nn.Sequential(
            _conv(3, width, stride=2),
            leaky,
            _conv(width, 2 * width, stride=2),
            leaky,
            _conv(2 * width, 4 * width, stride=2),
            leaky,
            _conv(4 * width, 8 * width),
            leaky,
            _conv(8 * width, 1),
        )

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return logits for overlapping patches.

        Args:
            lightness: (B, 1, H, W), scaled L* in [-1, 1]; height and width at least `MIN_SIZE`.
            ab: (B, 2, H, W), scaled a*b* in [-1, 1].

        Returns:
            (B, 1, H // 8 - 2, W // 8 - 2) logits: above 0 means real.

        Raises:
            SettingsError: if the pictures are too small.
        """
        if min(ab.shape[-2:]) < MIN_SIZE:
            raise SettingsError(f"expected pictures of at least {MIN_SIZE}×{MIN_SIZE}, not {tuple(ab.shape[-2:])}")
        return self.verdicts(torch.cat([lightness, ab], dim=1))


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(channels_in, channels_out, 4, stride=stride, padding=1))
