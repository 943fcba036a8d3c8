"""The reference generator: a U-Net that predicts a*b* from L*."""

import functools
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from colornet.errors import SettingsError

STRIDE = 8  # from the picture to the smallest feature map

Norm = Literal["batch", "group"]
"""Normalisation layers: `BatchNorm2d`, or `GroupNorm` for training with batches of a few pictures."""


class ConvBlock(nn.Module):
    """A 3×3 convolution with bias, a normalisation, and an activation."""

    def __init__(
        self, channels_in: int, channels_out: int, activation: nn.Module, stride: int = 1, *, norm: str = "batch"
    ) -> None:
        """Build the block; padding keeps the size (divided by `stride`).

        Raises:
            SettingsError: if `norm` is no `Norm`.
        """
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.norm = _build_norm(norm, channels_out)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        return self.activation(self.norm(self.conv(x)))

    def fold(self) -> None:
        """Fold batch normalisation into the convolution: the same output in eval mode with less work.

        Group normalisation stays: its statistics are the picture's own.
        """
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class UNet(nn.Module):
    """The reference generator (U-Net) of the design: scaled L* in, scaled a*b* out.

    With `width=64` it is the reference to the last parameter: 4,729,922 counted as Keras counts them. A narrower
    one is cheaper by about the square.
    """

    def __init__(self, *, width: int = 64, norm: str = "batch") -> None:
        """Build the network.

        Args:
            width: channels of the first convolution.
            norm: "batch" as the reference has it, or "group" for training with batches of a few pictures.

        Raises:
            SettingsError: if a setting is wrong.
        """
        super().__init__()
        if width < 1:
            raise SettingsError(f"width must be at least 1, not {width}")
        leaky = nn.LeakyReLU(0.2)
        relu = nn.ReLU()
        block = functools.partial(ConvBlock, norm=norm)
        self.down1 = block(1, width, leaky, stride=2)
        self.down2 = block(width, 2 * width, leaky)
        self.down3 = block(2 * width, 2 * width, leaky, stride=2)
        self.down4 = block(2 * width, 4 * width, leaky)
        self.down5 = block(4 * width, 8 * width, leaky, stride=2)
        self.up1 = block(8 * width, 4 * width, relu)
        self.up2 = block(8 * width, 4 * width, relu)
        self.up3 = block(4 * width, 2 * width, relu)
        self.up4 = block(4 * width, 2 * width, relu)
        self.up5 = block(2 * width, width, relu)
        self.out = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, lightness: Tensor) -> Tensor:
        """Predict colour.

        Args:
            lightness: (B, 1, H, W), scaled L* in [-1, 1]; any height and width.

        Returns:
            (B, 2, H, W), scaled a*b* in [-1, 1].
        """
        height, width = lightness.shape[-2:]
        x = pad_to_multiple(lightness, STRIDE)
        skip_a = self.down2(self.down1(x))
        skip_b = self.down4(self.down3(skip_a))
        x = self.down5(skip_b)
        x = self.up2(torch.cat([self.up1(double(x)), skip_b], dim=1))
        x = self.up4(torch.cat([self.up3(double(x)), skip_a], dim=1))
        x = self.out(self.up5(double(x)))
        return torch.tanh(x)[..., :height, :width]


def double(x: Tensor) -> Tensor:
    """Upsample (B, C, H, W) to (B, C, 2H, 2W) by repeating pixels."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width of (B, C, H, W) are multiples of `multiple`."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return functional.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _build_norm(name: str, channels: int) -> nn.Module:
    """Build a normalisation of (B, channels, H, W).

    There are at most 32 groups, the paper's default, of at least 8 channels where there are as many: a group of one
    channel would be zero wherever the feature map is one pixel.

    Source: Wu and He 2018, "Group Normalization".
    """
    if name not in get_args(Norm):
        raise SettingsError(f"norm must be one of {', '.join(get_args(Norm))}, not {name!r}")
    if name == "batch":
        return nn.BatchNorm2d(channels)
    most = min(32, max(1, channels // 8))
    return nn.GroupNorm(max(groups for groups in range(1, most + 1) if channels % groups == 0), channels)
