"""The reference discriminator: tells a*b* of real photographs from predicted ones."""

from torch import Tensor, nn

from colornet.errors import SettingsError

STRIDE = 16  # from the picture to the last feature map


class ReferenceDiscriminator(nn.Module):
    """The reference discriminator of the design: one logit for a picture, from its a*b* alone.

    With `width=32` and `image_size=256` it is the reference to the last parameter: 455,457 counted as Keras counts
    them.
    """

    def __init__(self, *, image_size: int = 256, width: int = 32) -> None:
        """Build the network for square pictures of `image_size` pixels, a multiple of 16."""
        super().__init__()
        if image_size < STRIDE or image_size % STRIDE:
            raise SettingsError(f"image_size must be a multiple of {STRIDE}, not {image_size}")
        self.image_size = image_size
        self.features = nn.Sequential(
            nn.Conv2d(2, width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.AvgPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            nn.AvgPool2d(2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.BatchNorm2d(4 * width),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            nn.Conv2d(4 * width, 8 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(8 * width),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.5),
        )
        self.verdict = nn.Linear((image_size // STRIDE) ** 2 * 8 * width, 1)

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return a logit for each picture.

        Args:
            lightness: (B, 1, image_size, image_size), scaled L*, which is ignored.
            ab: (B, 2, image_size, image_size), scaled a*b* in [-1, 1].

        Returns:
            (B,) logits: above 0 means real.

        Raises:
            SettingsError: if the pictures have another size.
        """
        if ab.shape[-2:] != (self.image_size, self.image_size):
            raise SettingsError(f"expected {self.image_size}×{self.image_size} pictures, not {tuple(ab.shape[-2:])}")
        return self.verdict(self.features(ab).flatten(1)).squeeze(1)
