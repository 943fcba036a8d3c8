"""What a hint does: at its place, on the thing that it is put on, and elsewhere.

    python -m benchmarks.hints
    python -m benchmarks.hints --model bundle/ --data shards/

Scenes are made of one shape on white, so that what belongs to the thing is known. Each gets a hint inside of the shape,
of a colour that no shape of a training has. With --data, held-out photographs get a hint of their own true colour at a
random place; how far their error falls is told by the distance from it.
"""

import io
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import binary_dilation, distance_transform_edt

from colornet.color import lab
from colornet.color.srgb import LUMINANCE, linear_from_srgb, srgb_from_linear
from colornet.colorize import Colorizer
from colornet.datasets import shapes
from colornet.errors import ColornetError
from colornet.evaluation import photographs
from colornet.hints import Hint
from colornet.inference import bundle as bundles
from colornet.storage import uris

SIZE = 256
"""Side of the pictures, pixels."""
COLOURS = ((40.0, 30.0), (-30.0, 25.0), (5.0, -40.0), (10.0, 45.0))
"""a* and b* of the hints on scenes: a red, a green, a blue, a yellow."""
AROUND = 4
"""Pixels around the shape that belong neither to it nor to the ground: at their edge colours mix."""
RINGS = (0, 8, 16, 32, 64)
"""Distances from a hint, pixels, from each to the next; beyond the last is the rest of the photograph."""

Planes = NDArray[np.float64]
"""(2, H, W): a* and b*."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.hints."""

    model: str = bundles.SHIPPED
    """Bundle that is measured; the one that comes with Colornet, unless given."""
    data: str = ""
    """Folder of shards, whose held-out photographs are tried too."""
    scenes: int = 24
    """How many scenes."""
    photographs: int = 48
    """How many photographs, at most."""


def benchmark(settings: BenchmarkSettings) -> int:
    """Measure, and print a table or two."""
    colorizer = Colorizer.from_bundle(bundles.normalize(settings.model))
    colorizer.bundle.require_hints()
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_scenes(colorizer, settings.scenes))
    if settings.data:
        console.print(_photographs(colorizer, uris.normalize(settings.data), settings.photographs))
    return 0


# --- scenes -----------------------------------------------------------------------------------------------------------


def _scenes(colorizer: Colorizer, count: int) -> Table:
    """Hint at one shape a scene, and measure distances of a*b*."""
    rows = [
        _scene(colorizer, scene, colour)
        for scene, colour in zip(shapes.generate(count, size=SIZE, seed=11), itertools.cycle(COLOURS))
    ]
    table = Table(f"{count} scenes, a*b* distance", "median", "largest")
    names = (
        "from the hint's colour, at the hint",
        "the same, on all of the shape",
        "the same without a hint",
        "from what it was without a hint, off the shape",
    )
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        table.add_row(name, f"{np.median(values):.1f}", f"{np.max(values):.1f}")
    return table


def _scene(colorizer: Colorizer, scene: shapes.Shape, colour: tuple[float, float]) -> tuple[float, ...]:
    depth = distance_transform_edt(scene.mask)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    data = _gray_png(scene.rgb)
    before = _ab(colorizer(data))
    after = _ab(colorizer(data, hints=[Hint(int(column), int(row), colour)]))
    wanted = np.array(colour)[:, None, None]
    from_hint, from_hint_before = (np.linalg.norm(each - wanted, axis=0) for each in (after, before))
    outside = ~binary_dilation(scene.mask, iterations=AROUND)
    changed = np.linalg.norm(after - before, axis=0)[outside].mean()
    return (
        float(from_hint[row, column]),
        float(from_hint[scene.mask].mean()),
        float(from_hint_before[scene.mask].mean()),
        float(changed),
    )


# --- photographs ------------------------------------------------------------------------------------------------------


def _photographs(colorizer: Colorizer, data: str, count: int) -> Table:
    """Reveal one true colour of each photograph, and measure how the error changes around it."""
    found = [_photograph(colorizer, photograph, seed) for seed, photograph in enumerate(_held_out(data, count))]
    errors = np.nanmean(np.array(found), axis=0)
    table = Table(f"{len(found)} photographs, pixels from the hint", "a*b* error without it", "with it")
    for (low, high), (before, after) in zip(itertools.pairwise((*RINGS, None)), errors, strict=True):
        table.add_row(f"{low} to {high}" if high else f"from {low}", f"{before:.1f}", f"{after:.1f}")
    return table


def _held_out(data: str, count: int) -> Iterator[NDArray[np.uint8]]:
    items = photographs.find(data).items().slice(0, count)
    return (answer for _, answer in photographs.read(items, SIZE) if not isinstance(answer, str))


def _photograph(colorizer: Colorizer, photograph: NDArray[np.uint8], seed: int) -> list[tuple[float, float]]:
    """Return the mean error in each ring, without the hint and with it."""
    truth, data = _lab_ab(photograph), _gray_png(photograph)
    row, column = np.random.default_rng(seed).integers(SIZE // 8, SIZE - SIZE // 8, 2)
    known = truth[:, row - 2 : row + 3, column - 2 : column + 3].mean(axis=(1, 2))
    hint = Hint(int(column), int(row), (round(float(known[0]), 2), round(float(known[1]), 2)))
    before, after = _ab(colorizer(data)), _ab(colorizer(data, hints=[hint]))
    errors = [np.linalg.norm(each - truth, axis=0) for each in (before, after)]
    y, x = np.ogrid[:SIZE, :SIZE]
    distance = np.hypot(y - row, x - column)
    rings = itertools.pairwise((*RINGS, np.inf))
    inside = [(low <= distance) & (distance < high) for low, high in rings]
    return [(float(errors[0][ring].mean()), float(errors[1][ring].mean())) for ring in inside]


# --- pictures ---------------------------------------------------------------------------------------------------------


def _gray_png(rgb: NDArray[np.uint8]) -> bytes:
    """Encode the luminance of sRGB pixels as a gray PNG."""
    gray = srgb_from_linear(linear_from_srgb(rgb / 255.0) @ np.array(LUMINANCE))
    target = io.BytesIO()
    Image.fromarray(np.rint(gray * 255).astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


def _ab(data: bytes) -> Planes:
    with Image.open(io.BytesIO(data)) as picture:
        return _lab_ab(np.asarray(picture.convert("RGB")))


def _lab_ab(rgb: NDArray[np.uint8]) -> Planes:
    planes = torch.from_numpy(rgb.astype(np.float64) / 255).permute(2, 0, 1)
    return lab.rgb_to_lab(planes)[1:].numpy()


if __name__ == "__main__":
    try:
        sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
    except ColornetError as error:
        sys.exit(f"error: {error}")
