"""What networks are wrapped in while they train, and how to get at them."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colornet.networks.backbone import BackboneGenerator


class WithDistribution(nn.Module):
    """A generator whose forward gives the distribution over a*b* too: `DistributedDataParallel` sees `forward` only."""

    def __init__(self, generator: BackboneGenerator) -> None:
        """Wrap a generator with `head="bins"`."""
        super().__init__()
        self.generator = generator

    def forward(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `BackboneGenerator.forward_with_distribution` does."""
        return self.generator.forward_with_distribution(lightness)


class _InFloat32:
    """Mixed into a convolution, takes it out of autocast on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        convolve: Any = super()
        if x.device.type != "cpu":
            return convolve.forward(x)
        with torch.autocast("cpu", enabled=False):
            return convolve.forward(x.float())


def for_training(generator: nn.Module) -> nn.Module:
    """Wrap a generator that can tell a distribution, so that it does; any other is returned as it is.

    Depthwise convolutions stay in float32 on CPUs: backwards, oneDNN's bfloat16 ones are several times slower.
    """
    for module in generator.modules():
        # Another class, not a wrapper around it: the weights keep their names, and copies are like the original.
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.__class__ = type(type(module).__name__, (_InFloat32, type(module)), {})
    if isinstance(generator, BackboneGenerator) and generator.head == "bins":
        return WithDistribution(generator)
    return generator


def bare(network: nn.Module) -> nn.Module:
    """Take off what a network is wrapped in."""
    if isinstance(network, DistributedDataParallel):
        network = cast(nn.Module, network.module)
    return network.generator if isinstance(network, WithDistribution) else network
