"""Does a generator that was trained on shapes give each kind its own colour?"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from colornet.colorize import Colorizer
from colornet.datasets.shapes import KINDS, Shape, generate
from demo.gray import lab_of, to_gray

TRAINING_SHAPES = "shapes://2000?size=64&seed=7"
"""What the demo trains on."""
SHAPES = 30
SIZE = 64
SEED = 2_000_003
"""Not the seed of the training shapes, so that none of these was among them."""
NEAR = 25.0
"""Colour difference, ΔE of CIE 1976, up to which a shape has its own colour. Kinds are at least 68 apart."""
ENOUGH = 0.9
"""Share of shapes in their own colour from which the generator counts as trained."""


@dataclass(frozen=True)
class Tally:
    """How one kind of shape fared."""

    right: int
    """Shapes in their own colour."""
    total: int
    """All shapes of the kind."""
    difference: float
    """Median ΔE between the colour that a shape got and its own."""


def measure(bundle: str) -> Mapping[str, Tally]:
    """Colorize gray shapes that nobody has seen, and count by kind how many get their own colour."""
    colorizer = Colorizer.from_bundle(bundle)
    differences: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for shape in generate(SHAPES, size=SIZE, seed=SEED):
        differences[shape.kind].append(_difference(colorizer, shape))
    return {
        kind: Tally(sum(each <= NEAR for each in found), len(found), float(np.median(found)))
        for kind, found in differences.items()
    }


def report(tallies: Mapping[str, Tally]) -> bool:
    """Print what was measured, and plainly if that is not enough; returns whether it is."""
    for kind, tally in tallies.items():
        print(f"  {kind:<10}{tally.right} of {tally.total} in their own colour, median ΔE {tally.difference:.1f}")
    right, total = (sum(getattr(tally, name) for tally in tallies.values()) for name in ("right", "total"))
    print(f"{right} of {total} shapes in their own colour (median colour within ΔE {NEAR:g})", flush=True)
    enough = right >= ENOUGH * total
    if not enough:
        print(f"MISSED: at least {math.ceil(ENOUGH * total)} are expected", flush=True)
    return enough


def _difference(colorizer: Colorizer, shape: Shape) -> float:
    """ΔE between the median colour that a shape got and its own."""
    target = io.BytesIO()
    Image.fromarray(np.rint(to_gray(shape.rgb)).astype(np.uint8)).save(target, "PNG")
    colour = np.asarray(Image.open(io.BytesIO(colorizer(target.getvalue()))).convert("RGB"))
    median = np.median(lab_of(colour)[shape.mask], axis=0)
    return float(np.linalg.norm(median - np.asarray(KINDS[shape.kind])))
