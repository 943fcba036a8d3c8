"""A page that people look at: the table, a plot, and photographs beside what the colorizers make of them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from colornet import pages

_QUALITY = 88


@dataclass(frozen=True)
class Example:
    """A photograph that is shown."""

    title: str
    pictures: Mapping[str, NDArray[np.uint8]]
    """What stands above each picture, and the picture: (S, S, 3) sRGB uint8."""


def page(
    title: str,
    notes: Sequence[str],
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    examples: Sequence[Example],
    plot: bytes = b"",
) -> bytes:
    """Write a page of HTML that needs no other file and runs no script.

    Args:
        title: what it is about.
        notes: sentences below it.
        head: heads of the table's columns.
        lines: the table's cells, line by line.
        examples: the photographs, in their order.
        plot: a PNG that stands before them; empty if there is none.
    """
    return pages.render(
        "comparison.html",
        title=title,
        notes=notes,
        head=head,
        lines=lines,
        plot=pages.data_uri(plot, "png") if plot else None,
        examples=[
            (example.title, [(name, _embedded(picture)) for name, picture in example.pictures.items()])
            for example in examples
        ],
    )


def _embedded(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return pages.data_uri(buffer.getvalue(), "jpeg")
