"""A page that people look at: the table, a plot, and photographs beside what the colorizers make of them."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CHOSEN = 8
"""Photographs of each kind: chosen blindly, those with the largest difference, and so on."""
_QUALITY = 88


@dataclass(frozen=True)
class Example:
    """A photograph that is shown."""

    title: str
    pictures: Mapping[str, NDArray[np.uint8]]
    """What stands above each picture, and the picture: (S, S, 3) sRGB uint8."""


def choose(differences: Sequence[float], seed: int = 0) -> tuple[list[int], list[int]]:
    """Choose photographs to show: `CHOSEN` blindly, and `CHOSEN` others whose number is the largest.

    Args:
        differences: one number a photograph, not NaN.
        seed: of the blind choice; the same for the same number of photographs, whatever was measured.

    Returns:
        The positions of both, the first in their order and the others by falling difference.
    """
    blind = sorted(np.random.default_rng(seed).permutation(len(differences))[:CHOSEN].tolist())
    falling = np.argsort(-np.asarray(differences), kind="stable").tolist()
    return blind, [index for index in falling if index not in set(blind)][:CHOSEN]


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
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        "<table><thead>" + _line("th", head) + "</thead><tbody>" + "".join(_line("td", line) for line in lines),
        "</tbody></table>",
        *([f'<p><img class="plot" alt="confidence against error" src="{_uri(plot, "png")}"></p>'] if plot else []),
        *map(_example, examples),
    ]
    body = "\n".join(parts)
    opening = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"{opening}\n<style>{_STYLE}</style>\n<body>\n{body}\n</body></html>\n".encode()


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #ddd; }
table { border-collapse: collapse; background: white; }
th, td { padding: .2rem .8rem; border: 1px solid #bbb; text-align: right; }
th:first-child, td:first-child { text-align: left; }
section { margin-top: 2rem; }
h2 { font-size: 1rem; font-weight: normal; margin: 0; }
div { display: flex; flex-wrap: wrap; gap: .5rem; }
figure { margin: 0; }
img { display: block; width: 256px; }
.plot { width: 100%; max-width: 1000px; }
"""


def _line(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _example(example: Example) -> str:
    figures = (
        f'<figure><img alt="{html.escape(name)}" src="{_embedded(picture)}">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, picture in example.pictures.items()
    )
    return f"<section><h2>{html.escape(example.title)}</h2><div>{''.join(figures)}</div></section>"


def _embedded(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return _uri(buffer.getvalue(), "jpeg")


def _uri(encoded: bytes, format: str) -> str:
    return f"data:image/{format};base64," + base64.b64encode(encoded).decode()
