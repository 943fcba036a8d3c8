"""Perceptual loss: how different two pictures look to a network that knows photographs."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from colornet.color import lab
from colornet.errors import SettingsError, one_line
from colornet.networks.weights import fit_weights, read_weights

TORCHVISION = "torchvision"
"""The source of weights that means: download torchvision's."""
BLOCKS = 4
"""How many blocks of VGG16 are compared; each ends with a pooling."""


class PerceptualLoss(nn.Module):
    """Distance of two pictures between features of VGG16, frozen.

    The features are the last activations before each of the first `BLOCKS` poolings. The features of a pixel are
    brought to length 1, and the squared distances between both pictures' are averaged over the pixels; the loss is the
    mean of the layers. It lies in [0, 2]: 0 for the same features, 2 for features that have nothing in common.

    Source: Johnson, Alahi and Fei-Fei 2016 for comparing features; Zhang et al. 2018 (LPIPS), equation 1 with all
    weights alike, for the unit length, without which the deeper layers would count most.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path) -> None:
        """Load VGG16 as far as the last layer that is compared.

        Args:
            weights: a local file with the names of torchvision's VGG16, `.safetensors` or as `torch.save` wrote it; or
                "torchvision" to download its weights (528 MB).

        Raises:
            SettingsError: if the weights cannot be had, or are not VGG16's.
        """
        super().__init__()
        from torchvision.models import VGG16_Weights, vgg16  # takes seconds, and most recipes have no perceptual loss

        with torch.device("meta"):  # its classifier, of 124 million parameters, is not needed
            layers = vgg16(init_weights=False).features
        poolings = [place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.features = layers[: poolings[BLOCKS - 1] + 1].to_empty(device="cpu")
        state = _download() if weights == TORCHVISION else read_weights(weights)
        fit_weights(nn.ModuleDict({"features": self.features}), state, weights, "VGG16")
        self.requires_grad_(False).eval()
        expected = VGG16_Weights.IMAGENET1K_V1.transforms()
        self.register_buffer("mean", torch.tensor(expected.mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(expected.std).reshape(3, 1, 1))

    def forward(self, lightness: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        """Compare two colourings of the same L*.

        Args:
            lightness: (B, 1, H, W), scaled L* in [-1, 1]; height and width at least 8.
            predicted: (B, 2, H, W), scaled a*b* in [-1, 1].
            truth: the same.

        Returns:
            A scalar, float32, in [0, 2]. Colours outside of sRGB are clipped before they are compared.
        """
        pictures = torch.cat([lab.join_scaled(lightness.float(), ab.float()) for ab in (predicted, truth)])
        x = (pictures - self.mean) / self.std
        distances = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                ours, theirs = functional.normalize(x.float(), dim=1).chunk(2)
                distances.append((ours - theirs).square().sum(dim=1).mean())
            x = layer(x)
        return torch.stack(distances).mean()


def _download() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    try:
        return VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise SettingsError(f"VGG16 cannot be downloaded: {one_line(error)}") from error
