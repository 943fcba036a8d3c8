"""A small archive of black-and-white photographs, out of packages that the demo installs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import skimage.data
import sklearn.datasets  # type: ignore[import-untyped]
import tifffile
from numpy.typing import NDArray
from PIL import Image

from demo.gray import to_gray


@dataclass(frozen=True)
class Photograph:
    """One photograph of the archive."""

    key: str
    """Where it lies in the archive. The ending decides how it is encoded."""
    load: Callable[[], NDArray[Any]]
    """Returns the original: (H, W, 3) or (H, W), uint8, sRGB."""
    origin: str
    """What it shows, who made it, under what licence it is, and in which package it comes."""
    bits: int = 8
    """Bits a pixel."""


def _matplotlib(name: str) -> NDArray[np.uint8]:
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / name) as picture:
        return np.asarray(picture.convert("RGB"))


PHOTOGRAPHS = (
    Photograph(
        "people/astronaut.jpg",
        skimage.data.astronaut,
        "The astronaut Eileen Collins, by NASA; public domain. From scikit-image, made gray.",
    ),
    Photograph(
        "people/grace-hopper.tif",
        lambda: _matplotlib("grace_hopper.jpg"),
        "Rear Admiral Grace Hopper, by the United States Navy; public domain. From matplotlib, made gray.",
    ),
    Photograph(
        "people/camera.jpg",
        skimage.data.camera,
        "A man with a camera, by Lav Varshney; CC0 1.0. From scikit-image, which has it in gray.",
    ),
    Photograph(
        "places/china.jpg",
        lambda: sklearn.datasets.load_sample_image("china.jpg"),
        "A temple in China, by danielbuechele (flickr.com/photos/danielbuechele/6061409035); CC BY 2.0. "
        "From scikit-learn, made gray.",
    ),
    Photograph(
        "places/rocket.png",
        skimage.data.rocket,
        "The launch of DSCOVR, by SpaceX; public domain. From scikit-image, made gray.",
    ),
    Photograph(
        "things/flower.png",
        lambda: sklearn.datasets.load_sample_image("flower.jpg"),
        "A flower, by vultilion (flickr.com/photos/vultilion/6056698931); CC BY 2.0. From scikit-learn, made gray.",
        bits=16,
    ),
    Photograph(
        "things/coffee.tif",
        skimage.data.coffee,
        "A cup of coffee, by Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0 1.0. From scikit-image, made gray.",
        bits=16,
    ),
    Photograph(
        "things/cat.jpg",
        skimage.data.chelsea,
        "Chelsea the cat, by Stéfan van der Walt; CC0 1.0. From scikit-image, made gray.",
    ),
)


def write(folder: Path, origins: Path) -> int:
    """Write the archive into a folder, and beside it what each photograph is; returns how many there are."""
    for photograph in PHOTOGRAPHS:
        path = folder / photograph.key
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(path, _gray(photograph))
    origins.write_text("".join(f"{each.key}\n    {each.origin}\n" for each in PHOTOGRAPHS), encoding="utf-8")
    return len(PHOTOGRAPHS)


def _gray(photograph: Photograph) -> NDArray[Any]:
    """Return the photograph in gray, (H, W), uint8 or uint16."""
    pixels = photograph.load().astype(np.uint8)
    if pixels.ndim == 2:
        return pixels
    gray = np.rint(to_gray(pixels, levels=2**photograph.bits - 1))
    return gray.astype(np.uint16 if photograph.bits > 8 else np.uint8)


def _encode(path: Path, gray: NDArray[Any]) -> None:
    if path.suffix == ".tif":
        tifffile.imwrite(path, gray, photometric="minisblack", compression="zlib", metadata=None)
    elif path.suffix == ".jpg":
        Image.fromarray(gray).save(path, quality=92)
    else:
        Image.fromarray(gray).save(path)
