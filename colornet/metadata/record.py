"""What a file says about its picture, free of the container that it was found in."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Unit = Literal["inch", "cm", "m", "none"]

_MOST = 10_000_000
_UNITS_PER_INCH: dict[Unit, Fraction] = {"inch": Fraction(1), "cm": Fraction(254, 100), "m": Fraction(254, 10_000)}


@dataclass(frozen=True)
class Density:
    """Pixels per unit of length, as exact as the file has it; "none" gives only the shape of a pixel."""

    x: Fraction
    y: Fraction
    unit: Unit = "inch"

    @classmethod
    def sane(cls, x: Fraction, y: Fraction, unit: Unit) -> "Density | None":
        """Make a density, or None of numbers that no scanner means."""
        return cls(x, y, unit) if all(0 < value < _MOST for value in (x, y)) else None

    def per(self, unit: Unit) -> "tuple[Fraction, Fraction] | None":
        """Convert to another unit, exactly; None from or to "none"."""
        if self.unit == unit:
            return self.x, self.y
        if "none" in (self.unit, unit):
            return None
        factor = _UNITS_PER_INCH[self.unit] / _UNITS_PER_INCH[unit]
        return self.x * factor, self.y * factor


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What one picture carries beside its pixels. Bytes are as in the file; None is: there is none."""

    exif: bytes | None = None
    """An Exif block of TIFF structure (begins II or MM), without the "Exif\\0\\0" that JPEG puts before it."""
    xmp: bytes | None = None
    """The XMP packet, UTF-8."""
    iptc: bytes | None = None
    """IPTC-IIM records, as in Photoshop's image resource 0x0404 and TIFF's tag 33723."""
    photoshop: bytes | None = None
    """Photoshop's other image resources ("8BIM"…), as in TIFF's tag 34377."""
    icc: bytes | None = None
    """The ICC profile."""
    density: Density | None = None
    """The resolution that the picture was scanned at."""
    orientation: int = 1
    """How to turn the pixels upright: Exif's and TIFF's Orientation, 1 (upright) to 8."""
    extras: tuple[tuple[str, bytes], ...] = ()
    """What only its own container has a place for, as ("png:tEXt", payload); the others leave it out."""
    notes: tuple[str, ...] = ()
    """What was damaged, or has no place in the output, and was therefore dropped: one line each."""

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Pixels per inch, horizontally and vertically, or None where no length is given."""
        inches = self.density.per("inch") if self.density else None
        return (float(inches[0]), float(inches[1])) if inches else None
