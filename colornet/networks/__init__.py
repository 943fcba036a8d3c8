"""Generators and discriminators by the names that bundles and recipes have for them."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from colornet.errors import SettingsError
from colornet.networks.backbone import BackboneGenerator
from colornet.networks.discriminators import ReferenceDiscriminator
from colornet.networks.patch import PatchDiscriminator
from colornet.networks.unet import ConvBlock, UNet

GeneratorName = Literal["unet", "backbone"]
GENERATORS: Mapping[str, type[nn.Module]] = {"unet": UNet, "backbone": BackboneGenerator}
DiscriminatorName = Literal["reference", "patch"]
DISCRIMINATORS: Mapping[str, type[nn.Module]] = {"reference": ReferenceDiscriminator, "patch": PatchDiscriminator}


def build_generator(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """Build an untrained generator: (B, 1, H, W) scaled L* to (B, 2, H, W) scaled a*b*.

    Raises:
        SettingsError: if there is no generator of that name, or its settings are wrong; the message names them.
    """
    return _build(GENERATORS, "generator", name, settings)


def build_discriminator(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """Build an untrained discriminator: scaled L* and scaled a*b* to one logit a picture, or a map of them.

    Raises:
        SettingsError: if there is no discriminator of that name, or its settings are wrong; the message names them.
    """
    return _build(DISCRIMINATORS, "discriminator", name, settings)


def fold_normalisation(generator: nn.Module) -> nn.Module:
    """Fold every batch normalisation into its convolution, in place: the same output in eval mode with less work."""
    generator.eval()
    for module in list(generator.modules()):
        if isinstance(module, ConvBlock | BackboneGenerator):
            module.fold()
    return generator


def count_flops(generator: nn.Module, size: int = 256) -> int:
    """Count the floating-point operations for a square picture; a multiplication and an addition are two.

    Convolutions are counted, elementwise operations are not.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it takes a tenth of a second

    on_meta = copy.deepcopy(generator).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(torch.empty(1, 1, size, size, device="meta"))
    return counter.get_total_flops()


def _build(registry: Mapping[str, type[nn.Module]], kind: str, name: str, settings: Mapping[str, Any]) -> nn.Module:
    if name not in registry:
        raise SettingsError(f"no {kind} is called {name!r}; there are: {', '.join(registry)}")
    try:
        return registry[name](**settings)
    except TypeError as error:
        raise SettingsError(f"{kind} {name!r} does not take these settings: {dict(settings)} ({error})") from error
