"""Colour is spread by confidence: where the network is sure it reaches as far as edges of L* let it.

Blotches are uncertain cells that are painted loudly. So each pixel's colour counts by how sure the network is of it,
and both, the weighed colours and their weights, are smoothed along L*: an uncertain pixel takes the colour of the surer
ones on the same thing. Where nobody is sure, the smoothed weights are small, and colour fades to neutral.

The smoothing is the fast global smoother (D. Min, S. Choi, J. Lu, B. Ham, K. Sohn, M. N. Do, "Fast Global Image
Smoothing Based on Weighted Least Squares", IEEE TIP 23, 2014): the minimum of

    sum (u - f)² + SMOOTHNESS sum of exp(-|difference of L*| / SIGMA) (difference of u)²

over neighbouring pixels, found along columns and rows in turn. That weights are smoothed as the colours are, and
divided by, is normalized convolution (H. Knutsson, C.-F. Westin, "Normalized and differential convolution", CVPR 1993).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

SMOOTHNESS = 1000.0
"""How far colour is spread: within a thing, to about its root in pixels."""
SIGMA = 1.5
"""In L*: a difference between neighbours that lets through 1 / e."""
PASSES = 3
"""How often columns and rows take turns; each pass is weaker than the one before, so that no streaks are left."""

HINT_REACH = 1 / 8
"""Share of the picture's longer side over which a hint's weight falls to 1 / e, on a thing of one L*."""
HINT_WEIGHT = 100.0
"""Of a hint where it is put; the surest prediction weighs 1."""
HINT_LIMIT = 5.0
"""Reaches beyond which a hint's weight is nothing: there it is 1e-9 of a sure prediction's."""
HINTS_AT_ONCE = 16
"""Hints whose distances are in memory together."""
HINT_SIGMA = 2.0
"""In L*: a difference between neighbours that makes one step as long as two. It counts by its square: grain is no
obstacle, an edge is."""


class Hint(NamedTuple):
    """A colour that is known for sure at one pixel."""

    row: int
    column: int
    """In the small upright picture, from its top left corner: without the padding around it."""
    a: float
    b: float
    """In [-128, 127]."""


def spread(
    ab: NDArray[np.float32],
    certainty: NDArray[np.float32] | None,
    lightness: NDArray[np.float32],
    *,
    neutral_below: float,
    hints: Sequence[Hint] = (),
    smoothness: float = SMOOTHNESS,
    sigma: float = SIGMA,
) -> NDArray[np.float32]:
    """Let sure colours reach into what is unsure, as far as edges of L* let them, and the unsure fade to neutral.

    Pixels weigh certainty². The root of the smoothed weights, s, is how sure their surroundings are: colour fades by
    s / (s + neutral_below).

    Args:
        ab: (2, h, w) float32, predicted a* and b* in [-128, 127], of the upright picture without padding.
        certainty: (h, w) float32, in [0, 1], of each pixel's prediction. None if nothing is known of it: then nothing
            is spread but the hints, and nothing fades.
        lightness: (h, w) float32, L* in [0, 100].
        neutral_below: certainty, in [0, 1], at which half of the colour is left. With 0 no colour fades, but where
            certainty is 0 all around there is none.
        hints: colours that are known. At their places the result is theirs; from there they reach as far as the thing
            that they are on, and fade nowhere.
        smoothness: how far colour is spread.
        sigma: in L*, what an edge is.

    Returns:
        (2, h, w) float32.

    Raises:
        ValueError: if a hint lies outside of the picture.
    """
    weight, colour = np.ones_like(lightness), ab
    if certainty is not None:
        weight = np.square(certainty)
        *channels, weight = _smooth(np.stack([weight * ab[0], weight * ab[1], weight]), lightness, smoothness, sigma)
        sure = np.sqrt(weight)
        colour = np.stack(channels) * _ratio(sure, weight * (sure + np.float32(neutral_below)))
    for start in range(0, len(hints), HINTS_AT_ONCE):
        some = hints[start : start + HINTS_AT_ONCE]
        near = _near(some, lightness)
        known = np.einsum("nhw,nc->chw", near, [(hint.a, hint.b) for hint in some])
        colour = _ratio(weight * colour + known, weight + near.sum(0))
        weight = weight + near.sum(0)
    return colour.astype(np.float32)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    """Divide, and give 0 where nothing is known."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _smooth(
    planes: NDArray[np.float32], lightness: NDArray[np.float32], smoothness: float, sigma: float
) -> NDArray[np.float32]:
    """Smooth (C, h, w) along L*."""
    apart = [np.abs(np.diff(lightness, axis=axis)) for axis in (0, 1)]
    down, right = (np.float32(smoothness) * np.exp(each / np.float32(-sigma)) for each in apart)
    right = np.ascontiguousarray(right.T)
    for turn in range(PASSES):
        share = np.float32(1.5 * 4.0 ** (PASSES - 1 - turn) / (4.0**PASSES - 1))  # of it: equation 16
        planes = _smooth_columns(planes, share * down)
        planes = np.ascontiguousarray(planes.swapaxes(1, 2))
        planes = np.ascontiguousarray(_smooth_columns(planes, share * right).swapaxes(1, 2))
    return planes


@numba.njit(nogil=True, cache=True)
def _smooth_columns(planes: NDArray[np.float32], coupling: NDArray[np.float32]) -> NDArray[np.float32]:
    """Solve the tridiagonal system of each column, (1 + coupling above + below) u - coupled neighbours = f.

    Gaussian elimination downwards and substitution upwards (Thomas' algorithm), in all columns at once. All terms are
    of one sign, so that float32 is enough.
    """
    channels, height, width = planes.shape
    solved = planes.copy()
    passed_on = np.zeros((height, width), np.float32)
    pivot = np.empty(width, np.float32)
    one = np.float32(1)
    for y in range(height):
        for x in range(width):
            diagonal = one
            if y > 0:
                diagonal += coupling[y - 1, x] * (one - passed_on[y - 1, x])
            if y < height - 1:
                diagonal += coupling[y, x]
                passed_on[y, x] = coupling[y, x] / diagonal
            pivot[x] = one / diagonal
        for channel in range(channels):
            for x in range(width):
                if y > 0:
                    solved[channel, y, x] += coupling[y - 1, x] * solved[channel, y - 1, x]
                solved[channel, y, x] *= pivot[x]
    for channel in range(channels):
        for y in range(height - 2, -1, -1):
            for x in range(width):
                solved[channel, y, x] += passed_on[y, x] * solved[channel, y + 1, x]
    return solved


def _near(hints: Sequence[Hint], lightness: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weight of each hint at each pixel, (n, h, w): a Gaussian of the shortest way there, which edges make long."""
    height, width = lightness.shape
    for hint in hints:
        if not (0 <= hint.row < height and 0 <= hint.column < width):
            raise ValueError(f"a hint at row {hint.row}, column {hint.column} lies outside of {height}×{width} pixels")
    number = np.arange(height * width).reshape(height, width)
    ends = [(number[:-1], number[1:]), (number[:, :-1], number[:, 1:])]
    first, second = (np.concatenate([each.ravel() for each in side]) for side in zip(*ends, strict=True))
    flat = lightness.astype(np.float64).ravel()
    length = 1 + np.square((flat[first] - flat[second]) / HINT_SIGMA)
    steps = coo_array((length, (first, second)), shape=(height * width,) * 2).tocsr()
    start = [number[hint.row, hint.column] for hint in hints]
    reach = HINT_REACH * max(height, width)
    distance = dijkstra(steps, directed=False, indices=start, limit=HINT_LIMIT * reach).reshape(-1, height, width)
    return HINT_WEIGHT * np.exp(-np.square(distance / reach))
