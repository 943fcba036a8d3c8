"""LPIPS: how different two pictures look to a network that knows photographs, weighted as people see differences.

Source: R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018; the weights of the channels are version 0.1, as torchmetrics has them.
"""

import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colornet.errors import SettingsError
from colornet.networks.weights import fit_weights, read_weights

LEAST_SIZE = 32
"""Side of the smallest pictures, in pixels: smaller ones do not reach AlexNet's last layers."""
_BACKBONES: dict[tuple[int, ...], tuple[Any, str]] = {
    (64, 3, 11, 11): ("alex", "AlexNet"),
    (64, 3, 3, 3): ("vgg", "VGG16"),
}
"""By the shape of the first convolution's weights."""


class Lpips:
    """The metric, with AlexNet or VGG16, whichever a file of weights is for."""

    def __init__(self, weights: str | Path) -> None:
        """Load the backbone; nothing is downloaded.

        Args:
            weights: local file with torchvision's AlexNet or VGG16, `.safetensors` or as `torch.save` wrote it.

        Raises:
            SettingsError: if the file cannot be read, or holds neither network.
        """
        from torchmetrics.functional.image import lpips  # with torchvision it takes a second: only for who asks

        state = read_weights(weights)
        first = state.get("features.0.weight")
        net, self.name = _BACKBONES.get(tuple(first.shape) if first is not None else (), ("", ""))
        if not net:
            raise SettingsError(f"{weights} holds neither torchvision's AlexNet nor its VGG16")
        # The public class has no way to take a backbone from a file: it downloads one.
        self.network: Any = lpips._LPIPS(net=net, pnet_rand=True)
        layers = itertools.chain.from_iterable(part.named_children() for part in self.network.net.children())
        features = nn.Sequential(OrderedDict(layers))  # the slices hold torchvision's layers under their own numbers
        fit_weights(nn.ModuleDict({"features": features}), state, weights, self.name)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor, true: Tensor) -> Tensor:
        """Compare pictures.

        Args:
            pictures: (N, 3, H, W), sRGB in [0, 255], at least `LEAST_SIZE` pixels a side.
            true: the same shape.

        Returns:
            (N,), at least 0; 0 for the truth itself.
        """
        return self.network(pictures / 127.5 - 1, true / 127.5 - 1).flatten()

    def to(self, device: torch.device | str) -> "Lpips":
        """Move the network."""
        self.network.to(device)
        return self
