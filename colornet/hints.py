"""A person's colour hints: "this coat was green", as a colour at a pixel.

    Hint(x=420, y=1310, color="#2f6b3a", by="M. Rossi")

What counts of the colour is its a* and b*: the lightness stays the scan's own. A colour that cannot be as strong at
that lightness is drawn in towards gray when it is rendered, as every other.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from colornet.errors import SettingsError

MOST_HINTS = 1000
"""Of one scan."""
LONGEST_NAME = 200
"""Characters of `Hint.by`."""
LONGEST_NOTE = 2000
"""Characters of `Hint.note`."""

_HEX = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_NUMBER = r"\s*([+-]?\d+(?:\.\d+)?)\s*"
_AB = re.compile(rf"ab\({_NUMBER},{_NUMBER}\)", re.ASCII)
_KINDS = '"#rrggbb", (r, g, b) of 0 to 255, or a*b* as (a, b) or "ab(a, b)" of -128 to 127'


@dataclass(frozen=True)
class Hint:
    """A colour that somebody knows of one place. Raises SettingsError, with the place, for what cannot be."""

    x: float
    """Pixels from the left edge of the upright picture; it is the pixel that holds this point, a whole number."""
    y: float
    """Pixels from its upper edge."""
    color: str | tuple[float, ...]
    """"#rrggbb" in sRGB, (r, g, b) of whole numbers 0 to 255, or a*b* as (a, b) or "ab(a, b)", each -128 to 127. It is
    kept as text, "#rrggbb" or "ab(a, b)"."""
    page: int = 0
    """Of a TIFF of several pages, the first is 0."""
    by: str = ""
    """Who says so. Goes on record."""
    note: str = ""
    """How it is known, or whatever else should go on record with it."""

    def __post_init__(self) -> None:
        """Check the fields, and bring them to one form each."""
        for name in ("x", "y"):
            object.__setattr__(self, name, self._pixel(name))
        object.__setattr__(self, "color", self._text_of_color())
        if isinstance(self.page, bool) or not isinstance(self.page, int) or self.page < 0:
            raise SettingsError(f"{self.place}: page must be a whole number from 0, not {self.page!r}")
        for name, longest in (("by", LONGEST_NAME), ("note", LONGEST_NOTE)):
            self._check_text(name, getattr(self, name), longest)

    @property
    def ab(self) -> tuple[float, float]:
        """The colour's a* and b*, to a hundredth."""
        text = str(self.color)
        if found := _AB.fullmatch(text):
            return float(found[1]), float(found[2])
        return _ab_of_rgb([int(text[start : start + 2], 16) for start in (1, 3, 5)])

    @property
    def place(self) -> str:
        """The hint's name in messages."""
        return f"the hint at ({self.x}, {self.y})" + (f" of page {self.page}" if self.page else "")

    def _pixel(self, name: str) -> int:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise SettingsError(f"{self.place}: {name} must be a number of pixels, not {value!r}")
        return math.floor(float(value))

    def _text_of_color(self) -> str:
        color = self.color
        match color:
            case str() if _HEX.fullmatch(color):
                return color.lower()
            case str() if found := _AB.fullmatch(color):
                return self._text_of_ab(float(found[1]), float(found[2]))
            case (a, b) if all(isinstance(each, Real) and math.isfinite(each) for each in color):
                return self._text_of_ab(a, b)
            case (r, g, b) if all(_is_level(each) for each in color):
                return f"#{int(r):02x}{int(g):02x}{int(b):02x}"
        raise SettingsError(f"{self.place}: color must be {_KINDS}, not {color!r}")

    def _text_of_ab(self, a: float, b: float) -> str:
        if not all(-128 <= each <= 127 for each in (a, b)):
            raise SettingsError(f"{self.place}: a* and b* of a color lie between -128 and 127, not ({a}, {b})")
        return f"ab({round(a, 2) + 0.0:g}, {round(b, 2) + 0.0:g})"

    def _check_text(self, name: str, text: object, longest: int) -> None:
        if not isinstance(text, str):
            raise SettingsError(f"{self.place}: {name} must be text, not {text!r}")
        if len(text) > longest:
            raise SettingsError(f"{self.place}: {name} has {len(text)} characters; it may have {longest}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise SettingsError(f"{self.place}: {name} is not Unicode: {text!r}")


def parse(text: str, by: str = "") -> Hint:
    """Read a hint as command lines have it: "X,Y=#rrggbb", or "X,Y,PAGE=#rrggbb".

    Raises:
        SettingsError: if it is none.
    """
    place, _, color = text.partition("=")
    found = re.fullmatch(rf"{_NUMBER},{_NUMBER}(?:,\s*(\d+)\s*)?", place, re.ASCII)
    if not found:
        raise SettingsError(f"a hint is X,Y=#rrggbb, or X,Y,PAGE=#rrggbb, not {text!r}")
    return Hint(float(found[1]), float(found[2]), color.strip(), int(found[3] or 0), by)


def in_order(hints: Iterable[Hint]) -> tuple[Hint, ...]:
    """Sort hints by page, row, column and the rest: what they come to does not depend on the order they are given in.

    Raises:
        SettingsError: if two of them say different colours of one pixel, or there are more than MOST_HINTS.
    """
    ordered = tuple(sorted(hints, key=lambda hint: (hint.page, hint.y, hint.x, hint.color, hint.by, hint.note)))
    if len(ordered) > MOST_HINTS:
        raise SettingsError(f"{len(ordered)} hints for one scan; it may have {MOST_HINTS}")
    for first, second in itertools.pairwise(ordered):
        if (first.page, first.x, first.y) == (second.page, second.x, second.y) and first.color != second.color:
            raise SettingsError(f"{first.place}: it is given two colours, {first.color} and {second.color}")
    return ordered


def people(hints: Iterable[Hint]) -> str:
    """Name those who gave hints, each once, in the order of the alphabet."""
    return "; ".join(sorted({hint.by for hint in hints if hint.by}))


def to_json(hints: Sequence[Hint]) -> str:
    """Write hints as one line of JSON, with only what they say; the same text for equal hints."""
    return json.dumps([_said(hint) for hint in hints], ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> tuple[Hint, ...]:
    """Read what `to_json` has written."""
    return tuple(Hint(**fields) for fields in json.loads(text))


def _said(hint: Hint) -> dict[str, Any]:
    more = {"page": hint.page, "by": hint.by, "note": hint.note}
    return {"x": hint.x, "y": hint.y, "color": hint.color} | {name: value for name, value in more.items() if value}


def _is_level(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) in range(256)


def _ab_of_rgb(levels: Sequence[int]) -> tuple[float, float]:
    """Return a* and b* of sRGB, each level 0 to 255. Source: CIE 15 (LAB)."""
    from colornet.color import srgb  # it brings Numba, and not all who read hints look at their colours

    xyz = srgb.PRIMARIES @ srgb.linear_from_srgb(np.array(levels) / 255) / srgb.WHITE
    x, y, z = srgb.root_from_lightness(srgb.lightness_from_luminance(xyz)).tolist()
    return round(500 * (x - y), 2) + 0.0, round(200 * (y - z), 2) + 0.0
