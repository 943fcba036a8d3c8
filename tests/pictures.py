"""Pictures that tests make: seeded, with structure at every scale, in any encoding."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def gray(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W) uint8: smooth shading, a hard edge and some grain; black and white both occur."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shade = 127 + 90 * np.sin(3 * x / width + seed) * np.cos(2 * y / height)
    shade += np.where(x > width / 2, 40, 0) + rng.normal(0, 6, (height, width))
    picture = np.clip(shade, 0, 255).astype(np.uint8)
    picture.flat[0], picture.flat[-1] = 0, 255
    return picture


def colour(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, sRGB: three different gray pictures as channels."""
    return np.dstack([gray(height, width, seed + channel) for channel in range(3)])


def encoded(pixels: NDArray[np.uint8], format: str, **options: object) -> bytes:
    """Encode with Pillow: `format` is Pillow's name of the format."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Decode with Pillow, in the mode of the file."""
    return np.asarray(Image.open(io.BytesIO(data)))
