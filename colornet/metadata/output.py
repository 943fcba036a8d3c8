"""What an output in colour carries of its source's metadata."""

from collections.abc import Mapping
from dataclasses import replace

from colornet.formats import MEDIA_TYPES, Format
from colornet.metadata import exif, icc_profiles, photoshop, xmp
from colornet.metadata.containers import jpeg
from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Metadata

_ALL = ("exif", "xmp", "iptc", "photoshop")
_NO_PLACE: Mapping[Format, tuple[str, ...]] = {"webp": ("iptc", "photoshop"), "bmp": _ALL, "j2k": _ALL}
_NAMES = {"exif": "Exif", "xmp": "XMP", "iptc": "IPTC", "photoshop": "Photoshop's resources"}


def for_output(metadata: Metadata, format: Format) -> Metadata:
    """Make of a source's metadata what its colour picture carries.

    Thumbnails, and what is said of how samples are coded, are left out, as they are not true of the output; the profile
    is sRGB; everything else is kept, Exif's byte for byte where it lies, as far as the format has a place for it. What
    has none is named in the notes.

    Args:
        metadata: of the source.
        format: of the output: "jpeg", "png", "tiff", "jp2", "j2k", "webp" or "bmp".
    """
    notes = list(metadata.notes)
    return replace(
        metadata,
        exif=_exif(metadata, format, notes),
        xmp=_xmp(metadata, format, notes),
        iptc=_placed(metadata.iptc, "iptc", format, notes),
        photoshop=_photoshop(metadata, format, notes),
        icc=None if format in ("bmp", "j2k") else icc_profiles.srgb(),
        density=None if format == "j2k" else metadata.density,
        extras=_extras(metadata, format, notes),
        notes=tuple(dict.fromkeys(notes)),
    )


def _placed(part: bytes | None, name: str, format: Format, notes: list[str]) -> bytes | None:
    if part and name in _NO_PLACE.get(format, ()):
        notes.append(f"{format.upper()} has no place for {_NAMES[name]}")
        return None
    return part


def _exif(metadata: Metadata, format: Format, notes: list[str]) -> bytes | None:
    block = _placed(metadata.exif, "exif", format, notes)
    if block:
        try:
            block, more = exif.for_output(block)
            notes += more
            if format == "jpeg":
                block, more = exif.fit(block, jpeg.MAX_EXIF)
                notes += more
        except DamagedError as error:
            notes.append(f"Exif is damaged: {error}")
            block = None
    # Without a block these would be lost: WebP has no other place for a density, and only TIFF one for an orientation.
    turned = metadata.orientation != 1 and format not in ("tiff", "bmp", "j2k")
    if not block and (turned or (metadata.density and format == "webp")):
        return exif.minimal(metadata.orientation, metadata.density)
    return block


def _xmp(metadata: Metadata, format: Format, notes: list[str]) -> bytes | None:
    packet = _placed(metadata.xmp, "xmp", format, notes)
    try:
        return xmp.for_output(packet, MEDIA_TYPES[format]) if packet else None
    except DamagedError as error:
        notes.append(f"XMP is damaged: {error}")
        return None


def _photoshop(metadata: Metadata, format: Format, notes: list[str]) -> bytes | None:
    blocks = _placed(metadata.photoshop, "photoshop", format, notes)
    try:
        return photoshop.without(blocks) or None if blocks else None
    except DamagedError as error:
        notes.append(f"Photoshop's resources are damaged: {error}")
        return None


def _extras(metadata: Metadata, format: Format, notes: list[str]) -> tuple[tuple[str, bytes], ...]:
    kept = tuple(extra for extra in metadata.extras if extra[0].startswith(f"{format}:"))
    lost = {kind for kind, _ in metadata.extras} - {kind for kind, _ in kept}
    notes += [f"{format.upper()} has no place for {kind}" for kind in sorted(lost)]
    return kept
