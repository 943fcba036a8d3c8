"""The networks of LPIPS and FID, where their weights are given."""

from dataclasses import dataclass

from colornet.errors import SettingsError
from colornet.evaluation import lpips
from colornet.evaluation.fid import Inception
from colornet.evaluation.lpips import Lpips


@dataclass(frozen=True)
class PerceptualNetworks:
    """Those whose weights were given. They are loaded once, and sent to the workers."""

    lpips: Lpips | None = None
    inception: Inception | None = None

    def to(self, device: str) -> "PerceptualNetworks":
        """Move the networks to a device."""
        return PerceptualNetworks(self.lpips and self.lpips.to(device), self.inception and self.inception.to(device))


def load_perceptual_networks(lpips_weights: str | None, fid_weights: str | None, size: int) -> PerceptualNetworks:
    """Load networks from local files.

    Args:
        lpips_weights: torchvision's AlexNet or VGG16, for LPIPS.
        fid_weights: torch-fidelity's Inception v3, for FID.
        size: side of the pictures in pixels.

    Raises:
        SettingsError: if a file cannot be read or holds another network, or the pictures are too small.
    """
    if lpips_weights is not None and size < lpips.LEAST_SIZE:
        raise SettingsError(f"LPIPS needs pictures of at least {lpips.LEAST_SIZE} pixels, not {size}")
    return PerceptualNetworks(
        None if lpips_weights is None else Lpips(lpips_weights),
        None if fid_weights is None else Inception(fid_weights),
    )
