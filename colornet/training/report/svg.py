"""A figure as an SVG element of a page."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:  # loaded where it is used, because workers draw panels alone and need not load it
    from matplotlib.figure import Figure

_ON_PAGE = "#012345"
"""Stands for the colour of the page's text, until the figure is an element of the page."""
_SVG_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _ON_PAGE),
}
_COMMON = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
"""What matplotlib's style sheet says of all elements."""
_SVG = "{http://www.w3.org/2000/svg}"


def svg(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Any:
    """Draw a figure as an element that can stand in a page beside others.

    It has no style sheet and no `style` attributes, which a page's Content-Security-Policy may forbid.

    Args:
        name: what the figure shows; no two of a page have the same.
        size: width and height, inches.
        draw: draws it.

    Returns:
        An `svg` element of lxml. Its text is text, in the colour of the page around it, and its background is that of
        the page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with matplotlib.rc_context(_SVG_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = etree.fromstring(buffer.getvalue().replace(_ON_PAGE.encode(), b"currentColor"))
    etree.strip_elements(root, f"{_SVG}metadata", f"{_SVG}style")
    for group in root.iter(f"{_SVG}g"):  # axes_1 and the like, which every figure has
        group.attrib.pop("id", None)
    for element in root.iter(f"{_SVG}*"):
        _style_by_attributes(element)
    for attribute in ("width", "height"):
        del root.attrib[attribute]
    root.attrib.update(_COMMON | {"role": "img", "aria-label": f"curves over the epochs: {name}"})
    return root


def _style_by_attributes(element: Any) -> None:
    """Put the declarations of a `style` attribute, as matplotlib writes them, into attributes of their own."""
    for declaration in element.attrib.pop("style", "").split(";"):
        attribute, _, value = declaration.partition(":")
        if value:
            element.set(attribute.strip(), value.strip())
