"""HTML pages, made of the templates in `templates/`, all in one style.

A page is one file: it loads nothing, runs no script, and says so in a Content-Security-Policy. Whatever a template
shows is escaped, and characters that HTML has not are replaced.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["data_uri", "render"]


def render(template: str, *, style: str = "", **values: Any) -> bytes:
    """Fill in a template.

    Args:
        template: name of a file in `templates/`.
        style: CSS rules that follow the common ones. They are not escaped: never make them of data.
        values: what the template shows: text, numbers, plain data of them; `Markup` stands as it is.

    Returns:
        The page in UTF-8; the same bytes for the same arguments.
    """
    rules = _text("style.css") + style
    digest = base64.b64encode(hashlib.sha256(rules.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    return _environment.get_template(template).render(style=Markup(rules), policy=policy, **values).encode()


def data_uri(encoded: bytes, format: str) -> str:
    """Return an encoded picture as an address that holds it; `format` is "jpeg" or "png"."""
    return f"data:image/{format};base64," + base64.b64encode(encoded).decode()


def _printable(value: object) -> Any:
    """Turn what a template shows into text that HTML can hold."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(character if _allowed(character) else "\N{REPLACEMENT CHARACTER}" for character in str(value))


def _allowed(character: str) -> bool:
    """Say whether XML 1.0 has this character (section 2.2, "Characters"), and whether it is no control character."""
    code = ord(character)
    if code < 0xA0:
        return character in "\t\n" or 0x20 <= code < 0x7F
    return not (0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF))


def _is_single(value: object) -> bool:
    """Say whether a value of plain data has no parts."""
    return isinstance(value, str) or not isinstance(value, Mapping | Sequence)


def _is_record(value: object) -> bool:
    """Say whether a value is a mapping to single values: a line of a table."""
    return isinstance(value, Mapping) and all(map(_is_single, value.values()))


def _words(name: object) -> str:
    """Return a name of plain data as people write it."""
    return str(name).replace("_", " ")


def _text(name: str) -> str:
    assert _environment.loader is not None
    return _environment.loader.get_source(_environment, name)[0]


_environment = Environment(
    loader=PackageLoader(__name__),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_printable,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_environment.filters.update(printable=_printable, words=_words)
_environment.tests.update(single=_is_single, record=_is_record)
