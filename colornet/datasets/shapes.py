"""The built-in synthetic data set: simple shapes on white, each kind of shape in its own colour.

All colours have the same L*, so that only the shape determines its colour: a generator that colours them right has
learned to recognise shapes. Sample i depends on the seed and on i alone, so any partition of the work gives the same
pictures.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from colornet.color.srgb import linear_from_srgb, srgb_from_linear
from colornet.errors import SettingsError

LIGHTNESS = 60.0
"""L* of every kind, within 0.03: as near as 8-bit sRGB comes at these hues."""

SRGB: Mapping[str, tuple[int, int, int]] = {
    "circle": (0, 164, 129),
    "square": (255, 86, 44),
    "triangle": (3, 147, 255),
    "star": (164, 145, 0),
    "ring": (253, 0, 255),
    "cross": (222, 104, 164),
}
"""Kind to 8-bit sRGB: the six colours at this L* and a chroma of 45 or more that are farthest from each other."""

KINDS: Mapping[str, tuple[float, float, float]] = {
    "circle": (60.01, -44.62, 8.12),
    "square": (59.98, 62.27, 57.36),
    "triangle": (59.98, 7.21, -62.43),
    "star": (60.02, -5.46, 64.07),
    "ring": (59.98, 97.93, -61.38),
    "cross": (59.99, 52.61, -10.21),
}
"""Kind to L*, a*, b* (D65) of its colour in `SRGB`. Any two are at least ΔE 68 (CIE 1976) apart."""

MIN_SIZE = 16
"""Smallest side, in pixels, at which every kind has an inside."""

_OVERSAMPLING = 4
_EXTENT = (0.35, 0.65)
"""Diameter of the circle around a shape, as a share of the side."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """One sample."""

    rgb: NDArray[np.uint8]
    """(size, size, 3), sRGB."""
    mask: NDArray[np.bool_]
    """(size, size): pixels that the shape covers whole; those on its anti-aliased edge are not among them."""
    kind: str
    """A key of `KINDS`."""
    name: str
    """`kind-seed-index`: no two samples of one data set share it."""


def generate(count: int, *, size: int, seed: int, start: int = 0) -> Iterator[Shape]:
    """Yield samples `start` to `start + count - 1` of the data set with this seed.

    Every run of six samples that starts at a multiple of six has each kind once, in an order drawn anew.

    Args:
        count: how many, at least 1.
        size: side of the square pictures in pixels, at least 16.
        seed: names the data set, at least 0.
        start: index of the first, for making a data set in parts.

    Raises:
        SettingsError: if a number is out of range; the message names it.
    """
    _check("count", count, 1)
    _check("size", size, MIN_SIZE)
    _check("seed", seed, 0)
    _check("start", start, 0)
    return (_sample(index, size, seed) for index in range(start, start + count))


def draw_shape(kind: str, size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one shape of random extent (35 to 65 % of the side), place and rotation.

    Edges are mixed with the white ground in linear light, so that their luminance too is the same for every kind.

    Args:
        kind: a key of `KINDS`.
        size: side of the picture in pixels, at least 16.
        rng: where extent, place and rotation come from.

    Returns:
        The picture, (size, size, 3) uint8 sRGB, and the shape's inside, (size, size) bool.

    Raises:
        SettingsError: if there is no such kind, or the size is too small.
    """
    if kind not in KINDS:
        raise SettingsError(f"no kind of shape is called {kind!r}; there are: {', '.join(KINDS)}")
    _check("size", size, MIN_SIZE)
    coverage = _coverage(kind, size, rng)
    colour = linear_from_srgb(np.asarray(SRGB[kind], dtype=np.float64) / 255.0)
    mixed = 1.0 + coverage[..., None] * (colour - 1.0)
    rgb = np.rint(srgb_from_linear(mixed) * 255.0).astype(np.uint8)
    return rgb, coverage == 1.0


def _sample(index: int, size: int, seed: int) -> Shape:
    kinds = list(KINDS)
    group, place = divmod(index, len(kinds))
    # The order inside a group of six is drawn from the group; three numbers cannot meet a sample's own two.
    order = np.random.default_rng([seed, group, len(kinds)]).permutation(len(kinds))
    kind = kinds[order[place]]
    rgb, mask = draw_shape(kind, size, np.random.default_rng([seed, index]))
    return Shape(rgb=rgb, mask=mask, kind=kind, name=f"{kind}-{seed}-{index:06d}")


def _coverage(kind: str, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the share of each pixel that the shape covers, (size, size) in [0, 1]."""
    side = size * _OVERSAMPLING
    radius = rng.uniform(*_EXTENT) * side / 2
    centre = rng.uniform(radius, side - radius, size=2)
    turn = rng.uniform(0.0, 2 * math.pi)
    canvas = Image.new("L", (side, side), 0)
    _DRAW[kind](ImageDraw.Draw(canvas), (float(centre[0]), float(centre[1])), radius, turn)
    fine = np.asarray(canvas, dtype=np.float64) / 255.0
    return fine.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING).mean(axis=(1, 3))


def _polygon(outline: Points) -> Callable[[ImageDraw.ImageDraw, tuple[float, float], float, float], None]:
    """Return what draws this outline, given in the unit circle, at a centre, radius and turn."""

    def draw(canvas: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, turn: float) -> None:
        cos, sin = radius * math.cos(turn), radius * math.sin(turn)
        canvas.polygon([(centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos) for x, y in outline], fill=255)

    return draw


def _circle(canvas: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, turn: float) -> None:
    canvas.circle(centre, radius, fill=255)


def _ring(canvas: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, turn: float) -> None:
    canvas.circle(centre, radius, fill=255)
    canvas.circle(centre, radius * 0.5, fill=0)


def _regular(*radii: float, corners: int) -> Points:
    """Return `corners` points at even angles around the unit circle, their distances taken from `radii` in turn."""
    angles = (2 * math.pi * corner / corners for corner in range(corners))
    return [
        (radii[i % len(radii)] * math.cos(angle), radii[i % len(radii)] * math.sin(angle))
        for i, angle in enumerate(angles)
    ]


def _cross(half: float) -> Points:
    """Return a plus whose arms are `2 * half` wide and end on the unit circle."""
    arm = math.sqrt(1 - half**2)
    quarter = [(arm, -half), (arm, half), (half, half)]
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    return [(x * cos - y * sin, x * sin + y * cos) for cos, sin in turns for x, y in quarter]


_DRAW: Mapping[str, Callable[[ImageDraw.ImageDraw, tuple[float, float], float, float], None]] = {
    "circle": _circle,
    "square": _polygon(_regular(1.0, corners=4)),
    "triangle": _polygon(_regular(1.0, corners=3)),
    "star": _polygon(_regular(1.0, 0.45, corners=10)),
    "ring": _ring,
    "cross": _polygon(_cross(0.3)),
}


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise SettingsError(f"{name} must be at least {least}, not {value}")
