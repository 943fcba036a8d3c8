"""Exif blocks: what they say of the scan, and what of it an output may repeat.

A block is changed in place, so that the offsets inside maker notes, which count from the block's first byte, stay true.
"""

import contextlib
import struct
from collections.abc import Iterator
from fractions import Fraction

from colornet.metadata import ifd
from colornet.metadata.ifd import Bounded, ByteLayout, DamagedError, Directory, Entry, Tag, Tags
from colornet.metadata.record import Density, Unit

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296
_MAKER_NOTE = 37500
_COLOR_SPACE = 40961
_INTEROP_INDEX = 1
_SRGB = 1
_THUMBNAIL = (513, 514)
"""JPEGInterchangeFormat and its length."""

# They tell how the source's samples are coded; the output's are coded otherwise.
_OF_THE_SAMPLES = frozenset({258, 259, 262, 273, 277, 278, 279, 284, 301, 318, 319, 529, 530, 532})

DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, 274, 282, 283, 285, 286, 287, 296, 297, 305, 306, 315, 316, 337, 18246, 18249, 33432}
    | {33434, 33437, 34850, 34855, 36867, 36868, 37121, 37377, 37378, 37379, 37380, 37381, 37382, 37383, 37384, 37385}
    | {37386, 37393, 37396, 37398, 37399}  # TIFF/EP keeps Exif's tags in the first directory
    | {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}  # GeoTIFF and GDAL
    | {40091, 40092, 40093, 40094, 40095, 50341, 50735, 50827}
)
"""Tags of a TIFF page, or of an Exif block's first directory, that describe the scan and not how it is coded."""


def read(block: bytes) -> tuple[ByteLayout, Directory]:
    """Open a block and read its first directory; raises DamagedError."""
    source = ifd.Bounded.of(block)
    layout, link = ifd.read_header(source)
    if layout.big:
        raise DamagedError("its version is 43, not 42")
    return layout, ifd.read_directory(source, layout, ifd.read_offset(source, layout, link))


def orientation(block: bytes) -> int | None:
    """The Orientation that the block gives, 1 to 8, or None."""
    layout, first = read(block)
    numbers = _numbers(block, layout, first, ORIENTATION)
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else None


def density(block: bytes) -> Density | None:
    """The resolution that the block gives, or None."""
    layout, first = read(block)
    unit = _numbers(block, layout, first, RESOLUTION_UNIT) or (2,)
    return make_density(
        _numbers(block, layout, first, X_RESOLUTION), _numbers(block, layout, first, Y_RESOLUTION), unit[0]
    )


def make_density(x: tuple[int, ...], y: tuple[int, ...], unit: int) -> Density | None:
    """Make a density of the numbers of TIFF's XResolution, YResolution and ResolutionUnit; None if they say nothing."""
    units: dict[int, Unit] = {1: "none", 2: "inch", 3: "cm"}
    if len(x) != 2 or len(y) != 2 or unit not in units or not all((*x, *y)) or (unit == 1 and x == y):
        return None
    return Density.sane(Fraction(*x), Fraction(*y), units[unit])


def _numbers(block: bytes, layout: ByteLayout, directory: Directory, code: int) -> tuple[int, ...]:
    entry = directory.find(code)
    if entry is None or entry.count > 16:
        return ()
    try:
        return ifd.read_tag(ifd.Bounded.of(block), layout, entry).numbers(layout.order)
    except DamagedError:
        return ()


def tags(block: bytes) -> tuple[ByteLayout, Tags, list[str]]:
    """Take a block apart: descriptive tags of its first directory, and all of the directories below it.

    Returns:
        The byte order, the tags, and a note for each that could not be read. Raises DamagedError.
    """
    layout, first = read(block)
    found, notes = collect(ifd.Bounded.of(block), layout, first)
    return layout, found, notes


def collect(source: Bounded, layout: ByteLayout, first: Directory) -> tuple[Tags, list[str]]:
    """Read the descriptive tags of a directory, and the Exif, GPS and interoperability directories below it."""
    notes: list[str] = []
    found: Tags = {0: _read_all(source, layout, [e for e in first.entries if e.code in DESCRIPTIVE], notes)}
    for code, directory in _below(source, layout, first, notes):
        found[code] = _read_all(source, layout, [e for e in directory.entries if e.code not in ifd.POINTERS], notes)
    return found, notes


def _read_all(source: Bounded, layout: ByteLayout, entries: list[Entry], notes: list[str]) -> list[Tag]:
    found = []
    for entry in entries:
        try:
            tag = ifd.read_tag(source, layout, entry)
        except DamagedError as error:
            notes.append(f"Exif or TIFF tag {entry.code} is damaged: {error}")
        else:
            if tag.kind in (13, 16, 17, 18):
                notes.append(f"Exif or TIFF tag {entry.code} of type {tag.kind} is not kept")
            elif tag.data:
                found.append(tag)
    return found


def _below(source: Bounded, layout: ByteLayout, first: Directory, notes: list[str]) -> Iterator[tuple[int, Directory]]:
    """The directories that Exif defines: each at most once, none of them below itself."""
    parents = [(first, ifd.EXIF_IFD), (first, ifd.GPS_IFD)]
    for parent, code in parents:
        at = ifd.read_pointer(layout, parent, code)
        if not at:
            continue
        try:
            directory = ifd.read_directory(source, layout, at)
        except DamagedError as error:
            notes.append(f"the Exif directory {code} is damaged: {error}")
            continue
        yield code, directory
        if code == ifd.EXIF_IFD:
            parents.append((directory, ifd.INTEROP_IFD))


# --- for the output --------------------------------------------------------------------------------------------------


def for_output(block: bytes) -> tuple[bytes, list[str]]:
    """Take out of a block what is not true of the output: the thumbnail, and how samples are coded.

    Returns:
        The block, in which everything else lies where it lay, and notes. Raises DamagedError.
    """
    source = ifd.Bounded.of(block)
    layout, first = read(block)
    notes: list[str] = []
    below = list(_below(source, layout, first, notes))
    changed = bytearray(block)
    for code, directory in below:
        if code == ifd.EXIF_IFD:
            _patch(changed, layout, directory, _COLOR_SPACE, struct.pack(layout.order + "H", _SRGB))
        elif code == ifd.INTEROP_IFD:
            _patch(changed, layout, directory, _INTEROP_INDEX, b"R98\0")
    if first.next:
        used = list(_used(layout, [first, *(directory for _, directory in below)]))
        _blank_thumbnail(changed, layout, first.next, used)
    _rewrite_first(changed, layout, first)
    return bytes(changed), notes


def _patch(block: bytearray, layout: ByteLayout, directory: Directory, code: int, value: bytes) -> None:
    """Overwrite a value that lies within its row."""
    entry = directory.find(code)
    if entry is not None and entry.count * ifd.size_of(entry.kind) == len(value):
        start = entry.at + layout.entry.size - layout.offset.size
        block[start : start + len(value)] = value


def _used(layout: ByteLayout, directories: list[Directory]) -> Iterator[tuple[int, int]]:
    for directory in directories:
        yield directory.at, directory.next_link + layout.offset.size - directory.at
        for entry in directory.entries:
            with contextlib.suppress(DamagedError):
                yield ifd.extent(layout, entry)


def _blank_thumbnail(block: bytearray, layout: ByteLayout, at: int, used: list[tuple[int, int]]) -> None:
    """Overwrite the thumbnail of the second directory with zeros, or cut it off where it ends the block."""
    source = ifd.Bounded.of(bytes(block))
    try:
        second = ifd.read_directory(source, layout, at)
        for start, size in _thumbnail(source, layout, second):
            end = min(start + size, len(block))
            if start >= end or any(start < other + length and other < end for other, length in used):
                continue
            if end >= len(block) - 1:
                del block[start:]
            else:
                block[start:end] = bytes(end - start)
    except DamagedError:  # then nothing but the link to it is left to take away
        return


def _thumbnail(source: Bounded, layout: ByteLayout, second: Directory) -> list[tuple[int, int]]:
    """Where the bytes of a thumbnail lie: of a JPEG, or of TIFF's strips; the later ones first."""
    for codes in (_THUMBNAIL, (273, 279)):
        rows = [second.find(code) for code in codes]
        if rows[0] and rows[1]:
            offsets, sizes = (ifd.read_tag(source, layout, row).numbers(layout.order) for row in rows if row)
            return sorted(zip(offsets, sizes, strict=False), reverse=True)
    return []


def _rewrite_first(block: bytearray, layout: ByteLayout, first: Directory) -> None:
    """Rewrite the first directory where it lies, without the rows about samples and the link to the next."""
    rows = [bytes(block[e.at : e.at + layout.entry.size]) for e in first.entries if e.code not in _OF_THE_SAMPLES]
    table = layout.length.pack(len(rows)) + b"".join(rows) + layout.offset.pack(0)
    table = table.ljust(first.next_link + layout.offset.size - first.at, b"\0")
    block[first.at : first.at + len(table)] = table


def fit(block: bytes, limit: int) -> tuple[bytes, list[str]]:
    """Make a block no longer than `limit` bytes: whole, or without maker notes, or of orientation and resolution."""
    if len(block) <= limit:
        return block, []
    layout, found, notes = tags(block)
    found[ifd.EXIF_IFD] = [tag for tag in found.get(ifd.EXIF_IFD, []) if tag.code != _MAKER_NOTE]
    smaller = ifd.build(layout.order, found)
    if len(smaller) <= limit:
        return smaller, [*notes, f"the Exif block of {len(block)} bytes does not fit: maker notes are dropped"]
    rest = minimal(orientation(block) or 1, density(block))
    return rest, [
        *notes,
        f"the Exif block of {len(block)} bytes does not fit: only orientation and resolution are kept",
    ]


def minimal(turn: int, resolution: Density | None) -> bytes:
    """Make a block that gives an orientation and, if known, a resolution."""
    found = [Tag(ORIENTATION, ifd.SHORT, struct.pack("<H", turn)), *density_tags(resolution, "<")]
    return ifd.build("<", {0: found})


def density_tags(resolution: Density | None, order: str) -> list[Tag]:
    """TIFF's XResolution, YResolution and ResolutionUnit."""
    if resolution is None:
        return []
    units = {"none": 1, "inch": 2, "cm": 3}
    unit: Unit = "cm" if resolution.unit == "m" else resolution.unit
    values = resolution.per(unit)
    assert values is not None  # a length converts to a length
    return [
        ifd.rationals(order, X_RESOLUTION, values[:1]),
        ifd.rationals(order, Y_RESOLUTION, values[1:]),
        Tag(RESOLUTION_UNIT, ifd.SHORT, struct.pack(order + "H", units[unit])),
    ]
