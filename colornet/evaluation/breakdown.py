"""PSNR over gray of some of the photographs: of each kind, and of each quarter by true chroma.

A mean over all hides whom colour serves: who paints everything alike gains on colourful photographs what he loses on
those that hardly have colour.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colornet.evaluation.bootstrap import Estimate, estimate
from colornet.evaluation.summary import plain, words

QUARTERS = ("least colourful quarter", "second quarter", "third quarter", "most colourful quarter")


@dataclass(frozen=True)
class Part:
    """Some of the photographs."""

    name: str
    photographs: int
    true_chroma: float
    """Weighted mean of the photographs' mean chroma; NaN without photographs."""
    psnr_over_gray: Mapping[str, Estimate]
    """Of each colorizer, dB."""


def by_kind(
    kinds: Sequence[str], chroma: NDArray[np.float64], over_gray: Mapping[str, NDArray[np.float64]]
) -> Iterator[Part]:
    """Yield what each kind gains, by name.

    Args:
        kinds: N of them, one a photograph.
        chroma: (N,), the true mean chroma of each.
        over_gray: (N,), dB, of each colorizer, by name.
    """
    for name in sorted(set(kinds)):
        chosen = np.asarray(kinds) == name
        yield _part(name, chosen, chroma, over_gray, np.ones(len(kinds)))


def by_chroma(
    chroma: NDArray[np.float64], over_gray: Mapping[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> Iterator[Part]:
    """Yield what each of `QUARTERS` gains, with (N,) weights of the photographs; the others as in `by_kind`."""
    quarter = quarters(chroma, weights)
    for number, name in enumerate(QUARTERS):
        yield _part(name, quarter == number, chroma, over_gray, weights)


def quarters(chroma: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the quarters of (N,) photographs by chroma: 0 the least colourful, each with a fourth of the weight.

    A photograph on a border belongs where the larger part of its weight lies.
    """
    order = np.argsort(chroma, kind="stable")
    middles = np.cumsum(weights[order]) - weights[order] / 2
    found = np.empty(len(chroma), np.int64)
    found[order] = np.minimum(4 * middles // weights.sum(), 3)
    return found


def to_json(part: Part) -> dict[str, Any]:
    """Turn a part into plain data; what is not a number becomes None."""
    return {
        "name": part.name,
        "photographs": part.photographs,
        "true_chroma": part.true_chroma if part.photographs else None,
        "psnr_over_gray": {name: plain(each) for name, each in part.psnr_over_gray.items()},
    }


def table(parts: Sequence[Part]) -> tuple[list[str], list[list[str]]]:
    """Write parts, at least one, for people: the head, and a line for each."""
    head = ["", "photographs", "true chroma", *parts[0].psnr_over_gray]
    lines = [
        [
            part.name,
            str(part.photographs),
            f"{part.true_chroma:.1f}" if part.photographs else "–",
            *map(words, part.psnr_over_gray.values()),
        ]
        for part in parts
    ]
    return head, lines


def _part(
    name: str,
    chosen: NDArray[np.bool_],
    chroma: NDArray[np.float64],
    over_gray: Mapping[str, NDArray[np.float64]],
    weights: NDArray[np.float64],
) -> Part:
    count = int(chosen.sum())
    return Part(
        name,
        count,
        float(np.average(chroma[chosen], weights=weights[chosen])) if count else np.nan,
        {colorizer: estimate(gained[chosen], weights[chosen]) for colorizer, gained in over_gray.items()},
    )
