"""Made-up archives: scans with smooth shading, edges and grain, as photographs have, and an untrained bundle."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator

DISTINCT = 12
"""Different scans of each size; the rest are hard links to them."""
IMAGE_SIZE = 256
GENERATOR = {"width": 8}


def shading(megapixels: float, seed: int = 0) -> NDArray[np.float32]:
    """Make a picture of three by four: (H, W) float32 in [5, 250]."""
    height = int((megapixels * 1e6 * 0.75) ** 0.5)
    y, x = np.mgrid[0:height, 0 : height * 4 // 3].astype(np.float32)
    shade = 128 + 60 * np.sin(x / 700 + seed) * np.cos(y / 500) + 30 * (x // 900 % 2)
    shade += np.random.default_rng(seed).normal(0, 4, shade.shape)
    return shade.clip(5, 250).astype(np.float32)


def write_archive(folder: Path, scans: int, megapixels: Sequence[float]) -> None:
    """Write gray JPEGs, whose sizes take turns: DISTINCT different ones of each size at most, and links to them."""
    folder.mkdir(parents=True)
    sizes = [megapixels[index % len(megapixels)] for index in range(scans)]
    written: dict[float, list[Path]] = {}
    turns: dict[float, itertools.count[int]] = {size: itertools.count() for size in megapixels}
    for index, size in enumerate(sizes):
        place, known, turn = folder / f"{index:06}.jpg", written.setdefault(size, []), next(turns[size])
        if turn >= (DISTINCT if size <= 25 else 1):
            os.link(known[turn % len(known)], place)
            continue
        pixels = shading(size, turn).astype(np.uint8)
        place.write_bytes(simplejpeg.encode_jpeg(pixels[..., None], 92, "GRAY", "Gray"))
        known.append(place)


def write_bundle(folder: Path) -> str:
    """Write a small bundle that has learnt nothing, and return its digest."""
    torch.manual_seed(0)
    generator = build_generator("unet", GENERATOR)
    bundle = Bundle(generator=generator, network="unet", settings=GENERATOR, image_size=IMAGE_SIZE)
    return bundles.save(bundle, str(folder))
