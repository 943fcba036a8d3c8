"""A page that people look at: tables, plots, and photographs beside what the colorizers make of them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colornet import pages

_QUALITY = 88


@dataclass(frozen=True)
class Table:
    """Numbers for people."""

    title: str
    """May be empty."""
    head: Sequence[str]
    """Heads of the columns."""
    lines: Sequence[Sequence[str]]
    """The cells, line by line."""


@dataclass(frozen=True)
class Example:
    """A photograph that is shown."""

    title: str
    pictures: Mapping[str, NDArray[np.uint8]]
    """What stands above each picture, and the picture: (S, S, 3) sRGB uint8."""


def page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[Table],
    examples: Sequence[Example],
    plots: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write a page of HTML that needs no other file and runs no script.

    Args:
        title: what it is about.
        notes: sentences below it.
        tables: in their order.
        examples: the photographs, in their order.
        plots: PNGs that stand before them, by what they show.
    """
    return pages.render(
        "comparison.html",
        title=title,
        notes=notes,
        tables=tables,
        plots=[(name, pages.data_uri(plot, "png")) for name, plot in (plots or {}).items()],
        examples=[
            (example.title, [(name, _embedded(picture)) for name, picture in example.pictures.items()])
            for example in examples
        ],
    )


def _embedded(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return pages.data_uri(buffer.getvalue(), "jpeg")
