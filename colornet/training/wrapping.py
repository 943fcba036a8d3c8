"""Wrappers of networks while they train."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colornet.networks.backbone import BackboneGenerator


class WithDistribution(nn.Module):
    """A generator whose forward pass returns the distribution, too, since `DistributedDataParallel` calls `forward`."""

    def __init__(self, generator: BackboneGenerator) -> None:
        """Wrap a generator with `head="bins"`."""
        super().__init__()
        self.generator = generator

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what `BackboneGenerator.forward_with_distribution` returns."""
        return self.generator.forward_with_distribution(lightness, hints)


class _InFloat32:
    """A mixin for a convolution that stays in float32 under autocast on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        convolve: Any = super()
        if x.device.type != "cpu":
            return convolve.forward(x)
        with torch.autocast("cpu", enabled=False):
            return convolve.forward(x.float())


def for_training(generator: nn.Module) -> nn.Module:
    """Prepare a generator for training, in place: wrap one that predicts a distribution in `WithDistribution`.

    Depthwise convolutions stay in float32 on CPUs, because the backward pass of oneDNN's bfloat16 ones is several times
    slower.
    """
    for module in generator.modules():
        # The class is changed, because a wrapper would change the names of the weights.
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.__class__ = type(type(module).__name__, (_InFloat32, type(module)), {})
    if isinstance(generator, BackboneGenerator) and generator.head == "bins":
        return WithDistribution(generator)
    return generator


def unwrap(network: nn.Module) -> nn.Module:
    """Return a network without its wrappers."""
    if isinstance(network, DistributedDataParallel):
        network = cast(nn.Module, network.module)
    return network.generator if isinstance(network, WithDistribution) else network
