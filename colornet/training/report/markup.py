"""Plain data as elements of HTML. lxml builds them, so that no text can become markup."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lxml import html
from lxml.builder import ElementMaker

E = ElementMaker(makeelement=html.html_parser.makeelement)
"""Makes elements: `E.td("1 < 2", {"class": "odd"})`."""


def text(value: object) -> str:
    """Write a value as text; what HTML cannot hold, such as control characters, is replaced."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(character if _allowed(character) else "\N{REPLACEMENT CHARACTER}" for character in str(value))


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> Any:
    """Build a table, in a box that scrolls where the window is too narrow.

    Args:
        head: heads of the columns.
        lines: cells, line by line: text or elements.
    """
    body = E.tbody(*(E.tr(*(E.td(text(cell) if isinstance(cell, str) else cell) for cell in line)) for line in lines))
    return E.div({"class": "wide"}, E.table(E.thead(E.tr(*(E.th(text(name)) for name in head))), body))


def nested(value: object) -> Any:
    """Build an element for plain data: text, numbers, and mappings and sequences of them, however deep.

    A mapping is a table of names and values, a sequence of single values a line of text, a sequence of flat mappings a
    table with a line for each, and any other sequence a list.
    """
    if isinstance(value, Mapping) and value:
        rows = (E.tr(E.th(_words(name)), E.td(nested(each))) for name, each in value.items())
        return E.table({"class": "names"}, *rows)
    if not _has_parts(value):
        return E.span(text(value))
    parts = list(value) if isinstance(value, Sequence) else []
    if not any(map(_has_parts, parts)):
        return E.span(", ".join(map(text, parts)) or "none")
    if all(isinstance(each, Mapping) and not any(map(_has_parts, each.values())) for each in parts):
        names = list(dict.fromkeys(name for each in parts for name in each))
        return table(
            [_words(name) for name in names],
            ([text(each[name]) if name in each else "" for name in names] for each in parts),
        )
    return E.ol(*(E.li(nested(each)) for each in parts))


def _has_parts(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str)


def _words(name: object) -> str:
    return text(name).replace("_", " ")


def _allowed(character: str) -> bool:
    """Say whether XML 1.0 has this character (section 2.2, "Characters"), and whether it is no control character."""
    code = ord(character)
    if code < 0xA0:
        return character in "\t\n" or 0x20 <= code < 0x7F
    return not (0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF))
