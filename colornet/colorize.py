"""Luminance -> a*b* -> the finished scan."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from colornet import bundle as bundles
from colornet import color
from colornet.bundle import Bundle
from colornet.join import join
from colornet.networks import fold_normalisation
from colornet.scans import MAX_PIXELS, Scan, decode, encode

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What decides, beside the bundle, what an output looks like."""

    size: int = 0
    """Side in pixels of the square that the network sees; 0 takes the size that the bundle was trained at."""
    quality: int = 92
    """Quality of JPEG outputs, 1 to 100."""
    max_pixels: int = MAX_PIXELS
    """Scans with more pixels than this are refused before they are decoded."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError naming the field."""
        if self.size < 0:
            raise ValueError(f"size must be 0 or more pixels, not {self.size}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, not {self.quality}")
        if self.max_pixels < 1:
            raise ValueError(f"max-pixels must be at least 1, not {self.max_pixels}")


@dataclass(frozen=True)
class Frame:
    """Where in the network's square a picture lies: its aspect ratio is kept, the rest is padding."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, height: int, width: int, size: int) -> "Frame":
        """Centre a picture of `height` × `width` in a square of `size`, as large as it goes."""
        longer = max(height, width)
        inner_height = max(1, round(height * size / longer))
        inner_width = max(1, round(width * size / longer))
        return cls((size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width)

    def pad(self, picture: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Repeat the edges of (height, width) outwards to (size, size)."""
        bottom, right = size - self.top - self.height, size - self.left - self.width
        return np.pad(picture, ((self.top, bottom), (self.left, right)), mode="edge")

    def crop(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut the picture out of (C, size, size)."""
        return planes[:, self.top : self.top + self.height, self.left : self.left + self.width]


def prepare(scan: Scan, size: int) -> NDArray[np.float16]:
    """Reduce a scan to what the network sees.

    Args:
        scan: of any size.
        size: side of the square in pixels.

    Returns:
        (size, size) float16: scaled L* in [-1, 1], aspect ratio kept, padded with the picture's edges.
    """
    frame = Frame.fit(scan.height, scan.width, size)
    deep = scan.codes.dtype != np.uint8
    image = Image.fromarray(scan.codes.astype(np.float32) if deep else scan.codes)
    small = np.asarray(
        image.resize((frame.width, frame.height), Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32
    )
    lightness = np.interp(small, np.arange(len(scan.lightness)), scan.lightness)
    return frame.pad((lightness / 50.0 - 1.0).astype(np.float32), size).astype(np.float16)


def render(scan: Scan, ab: NDArray[np.float16], settings: RenderSettings) -> bytes:
    """Give a scan its colour, and encode it in the format that it came in.

    Args:
        scan: the full-size luminance.
        ab: (2, S, S) float16, a* and b* in [-128, 127], as predicted for `prepare(scan, S)`.
        settings: quality of the encoding.
    """
    frame = Frame.fit(scan.height, scan.width, ab.shape[-1])
    rgb = join(scan.codes, scan.lightness, frame.crop(ab.astype(np.float32)), scan.bits)
    return encode(rgb, scan.alpha, scan.format, quality=settings.quality)


class Predictor:
    """A generator made ready for inference: folded, channels-last, in bfloat16 where the processor has it."""

    def __init__(self, bundle: Bundle, *, device: str = "cpu", precision: Precision = "auto") -> None:
        """Move the bundle's generator to `device`. It is changed in place: the bundle is used up."""
        self.device = torch.device(device)
        self.dtype = _dtype(self.device, precision)
        generator = fold_normalisation(bundle.generator)
        self.generator = generator.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, lightness: NDArray[np.float16]) -> NDArray[np.float16]:
        """Predict colour for one batch.

        Args:
            lightness: (B, S, S) float16, scaled L* in [-1, 1].

        Returns:
            (B, 2, S, S) float16: a* and b* in [-128, 127]. On a CPU each picture is predicted by itself: this is
            the fastest there, and makes the result independent of the pictures beside it.
        """
        scaled = torch.from_numpy(lightness).unsqueeze(1)
        parts = scaled.split(1) if self.device.type == "cpu" else (scaled,)
        return np.concatenate([self._predict(part) for part in parts])

    def _predict(self, scaled: torch.Tensor) -> NDArray[np.float16]:
        inputs = scaled.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        ab = color.unscale_ab(self.generator(inputs).float())
        return ab.to(torch.float16).cpu().numpy()


class Colorizer:
    """One photograph at a time: encoded bytes in, encoded bytes out."""

    def __init__(self, bundle: Bundle, settings: RenderSettings | None = None, *, device: str = "cpu") -> None:
        """Make a bundle ready to colorize."""
        self.settings = settings or RenderSettings()
        self.size = self.settings.size or bundle.image_size
        self.predictor = Predictor(bundle, device=device)

    @classmethod
    def from_bundle(cls, uri: str, settings: RenderSettings | None = None, *, device: str = "cpu") -> "Colorizer":
        """Load the bundle at a folder or s3:// prefix.

        Raises:
            BundleError: if there is no sound bundle.
        """
        return cls(bundles.load(uri), settings, device=device)

    def __call__(self, data: bytes) -> bytes:
        """Colorize an encoded scan; the result has its format and pixel size.

        Raises:
            ScanError: if it cannot be read.
        """
        scan = decode(data, max_pixels=self.settings.max_pixels)
        ab = self.predictor(prepare(scan, self.size)[None])[0]
        return render(scan, ab, self.settings)


def _dtype(device: torch.device, precision: Precision) -> torch.dtype:
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Without AVX512-BF16 or AMX a processor only emulates bfloat16, and slowly.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
