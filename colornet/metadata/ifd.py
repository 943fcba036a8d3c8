"""TIFF's image file directories: read with bounds, built, and appended. Exif blocks are made of them too.

The names are those of TIFF 6.0; BigTIFF differs only in the width of counts and offsets. Nothing is followed twice and
nothing is read without a bound: offsets and counts come from files that nobody vouches for.
"""

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Literal

from colornet.errors import ColornetError

EXIF_IFD, GPS_IFD, INTEROP_IFD = 34665, 34853, 40965
"""Tags whose value is the offset of a directory that Exif defines."""
POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)

BYTE, SHORT, LONG, RATIONAL, UNDEFINED, IFD8 = 1, 3, 4, 5, 7, 18
"""Field types."""

_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d", 13: "I"}
_CODES |= {16: "Q", 17: "q", 18: "Q", 129: "B"}
_PAIRS = (5, 10)
_MAX_ENTRIES = 4096
_MAX_VALUE = 16 << 20


class DamagedError(ColornetError, ValueError):
    """A directory, or another piece of metadata, is not what its standard says."""


def size_of(kind: int) -> int:
    """Bytes of one value of a field type; raises DamagedError if TIFF has no such type."""
    if kind not in _CODES:
        raise DamagedError(f"field type {kind} is not known")
    return struct.calcsize("=" + _CODES[kind]) * (2 if kind in _PAIRS else 1)


@dataclass(frozen=True)
class ByteLayout:
    """How a file writes its numbers: byte order, and 32 bits or 64."""

    order: Literal["<", ">"]
    big: bool = False
    """True in BigTIFF."""

    @property
    def offset(self) -> struct.Struct:
        """How an offset and a count are written."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def length(self) -> struct.Struct:
        """How a directory's number of entries is written."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """How an entry is written: tag, type, count, value or its offset."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))


@dataclass(frozen=True)
class Tag:
    """One field with its value, away from any file."""

    code: int
    kind: int
    """The field type."""
    data: bytes
    """The values, in the byte order of the file that the tag was read from."""

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.data) // size_of(self.kind)

    def numbers(self, order: str) -> tuple[int, ...]:
        """The values as numbers; a rational as numerator and denominator."""
        code = _CODES[self.kind]
        count = len(self.data) // struct.calcsize("=" + code)
        return struct.unpack(f"{order}{count}{code}", self.data)

    def swapped(self, order: str, target: str) -> "Tag":
        """The same tag for a file of another byte order."""
        if order == target:
            return self
        code = _CODES[self.kind]
        numbers = self.numbers(order)
        return Tag(self.code, self.kind, struct.pack(f"{target}{len(numbers)}{code}", *numbers))


@dataclass(frozen=True)
class Entry:
    """One row of a directory in a file."""

    code: int
    kind: int
    count: int
    field: bytes
    """The value, if it fits, or its offset."""
    at: int
    """Where in the file the row lies."""


@dataclass(frozen=True)
class Directory:
    """The rows of one directory in a file."""

    at: int
    entries: tuple[Entry, ...]
    next_link: int
    """Where in the file the offset of the next directory is written."""
    next: int
    """The offset of the next directory, 0 at the end."""

    def find(self, code: int) -> Entry | None:
        """The first row with this tag."""
        return next((entry for entry in self.entries if entry.code == code), None)


class Bounded:
    """Bytes that are read at offsets, with a bound on how much is read in all: rows may all point to the same bytes."""

    def __init__(self, file: BinaryIO) -> None:
        """Read a file, as much as twice its size and a mebibyte."""
        self.file = file
        self.left = 2 * file.seek(0, io.SEEK_END) + (1 << 20)

    @classmethod
    def of(cls, data: bytes) -> "Bounded":
        """Read from bytes."""
        return cls(io.BytesIO(data))

    def read(self, at: int, count: int) -> bytes:
        """Read `count` bytes at an offset; raises DamagedError where the file ends before, or the bound is passed."""
        self.left -= count
        if self.left < 0:
            raise DamagedError("its directories name more bytes than the file has")
        self.file.seek(at)
        data = self.file.read(count)
        if len(data) != count:
            raise DamagedError(f"it ends before {count} bytes at {at}")
        return data


def read_header(source: Bounded) -> tuple[ByteLayout, int]:
    """Read TIFF's header: the layout, and where the first directory's offset is written."""
    head = source.read(0, 8)
    if head[:2] not in (b"II", b"MM"):
        raise DamagedError("it does not begin with II or MM")
    order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
    (magic,) = struct.unpack(order + "H", head[2:4])
    if magic not in (42, 43):
        raise DamagedError(f"its version is {magic}, not 42 or 43")
    return (ByteLayout(order, big=True), 8) if magic == 43 else (ByteLayout(order), 4)


def read_offset(source: Bounded, layout: ByteLayout, at: int) -> int:
    """Read an offset that is written at `at`."""
    return layout.offset.unpack(source.read(at, layout.offset.size))[0]


def read_directory(source: Bounded, layout: ByteLayout, at: int) -> Directory:
    """Read the rows of the directory at an offset; raises DamagedError."""
    (length,) = layout.length.unpack(source.read(at, layout.length.size))
    if length > _MAX_ENTRIES:
        raise DamagedError(f"a directory of {length} entries")
    start = at + layout.length.size
    table = source.read(start, length * layout.entry.size)
    rows = []
    for index, (code, kind, count, field) in enumerate(layout.entry.iter_unpack(table)):
        rows.append(Entry(code, kind, count, field, start + index * layout.entry.size))
    link = start + len(table)
    try:
        following = read_offset(source, layout, link)
    except DamagedError:  # some writers end the block with the last row
        following = 0
    return Directory(at, tuple(rows), link, following)


def extent(layout: ByteLayout, entry: Entry) -> tuple[int, int]:
    """Where in the file a row's value lies: its offset and its bytes; raises DamagedError."""
    size = size_of(entry.kind) * entry.count
    if size <= layout.offset.size:
        return entry.at + layout.entry.size - layout.offset.size, size
    return layout.offset.unpack(entry.field)[0], size


def read_tag(source: Bounded, layout: ByteLayout, entry: Entry) -> Tag:
    """Read a row's value; raises DamagedError, also for more than 16 MiB."""
    at, size = extent(layout, entry)
    if size > _MAX_VALUE:
        raise DamagedError(f"tag {entry.code} of {size} bytes")
    return Tag(entry.code, entry.kind, source.read(at, size))


def read_pointer(layout: ByteLayout, directory: Directory, code: int) -> int | None:
    """The offset of the directory that a tag points to, or None."""
    entry = directory.find(code)
    if entry is None or entry.count != 1 or entry.kind not in (4, 13, 16, 18) or size_of(entry.kind) > len(entry.field):
        return None
    return Tag(code, entry.kind, entry.field[: size_of(entry.kind)]).numbers(layout.order)[0]


def chain(source: Bounded) -> tuple[ByteLayout, list[tuple[int, int]]]:
    """Follow the directories of a file: for each, where the link to it is written, and its own offset."""
    layout, link = read_header(source)
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    at = read_offset(source, layout, link)
    while at and at not in seen:
        seen.add(at)
        found.append((link, at))
        directory = read_directory(source, layout, at)
        link, at = directory.next_link, directory.next
    return layout, found


Tags = dict[int, list[Tag]]
"""Tags by directory: 0 for the first, else the tag that points to it."""


def build(order: Literal["<", ">"], tags: Tags) -> bytes:
    """Write an Exif block: the tags of directory 0, and the directories below it."""
    layout = ByteLayout(order)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + place(layout, tags, 8)


def place(
    layout: ByteLayout, tags: Tags, at: int, directory: int = 0, kept: Sequence[bytes] = (), following: int = 0
) -> bytes:
    """Lay out a directory, its values and the directories below it, to lie at offset `at` of a file.

    Args:
        layout: of the file.
        tags: with data in the file's byte order, and without pointers: these are made here.
        at: even.
        directory: the key in `tags` of the one to begin with.
        kept: finished rows that are taken over as they are.
        following: the offset of the next directory.
    """
    below = [code for code in POINTERS if code in tags and code != directory and _parent(code) == directory]
    own = {tag.code: tag for tag in tags.get(directory, ()) if tag.code not in POINTERS}
    rows = {struct.unpack(layout.order + "H", row[:2])[0]: row for row in kept}
    count = len(rows.keys() | own.keys() | set(below))
    values_at = at + layout.length.size + count * layout.entry.size + layout.offset.size
    values = bytearray()
    for tag in own.values():
        field = tag.data.ljust(layout.offset.size, b"\0")
        if len(tag.data) > layout.offset.size:
            field = layout.offset.pack(values_at + len(values))
            values += tag.data + b"\0" * (len(tag.data) % 2)
        rows[tag.code] = layout.entry.pack(tag.code, tag.kind, tag.count, field)
    for code in below:
        start = values_at + len(values)
        values += place(layout, tags, start, code)
        rows[code] = layout.entry.pack(code, IFD8 if layout.big else LONG, 1, layout.offset.pack(start))
    table = b"".join(row for _, row in sorted(rows.items()))
    return layout.length.pack(len(rows)) + table + layout.offset.pack(following) + bytes(values)


def _parent(code: int) -> int:
    return EXIF_IFD if code == INTEROP_IFD else 0


def rationals(order: str, code: int, values: Iterable[Fraction]) -> Tag:
    """Make a tag of positive fractions."""
    most = 2**32 - 1
    parts = [part for value in values for part in value.limit_denominator(most // (int(value) + 1)).as_integer_ratio()]
    return Tag(code, RATIONAL, struct.pack(f"{order}{len(parts)}I", *parts))
