"""Metadata in TIFF and BigTIFF, of every page: read from its directory, and written by appending a new directory.

A page's metadata becomes an Exif block, as in every other container, and becomes tags and directories again.
"""

import io
import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Literal

import tifffile

from colornet.metadata import exif, ifd, photoshop
from colornet.metadata.check import checked
from colornet.metadata.ifd import Bounded, ByteLayout, DamagedError, Directory, Tag, Tags
from colornet.metadata.record import Metadata

XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
_BLOBS = (XMP, IPTC, PHOTOSHOP, ICC)


def read(data: bytes) -> Metadata:
    """Read what the first page's directory holds."""
    source = Bounded.of(data)
    try:
        layout, link = ifd.read_header(source)
        first = ifd.read_directory(source, layout, ifd.read_offset(source, layout, link))
    except DamagedError as error:
        return Metadata(notes=(f"TIFF: {error}",))
    return _read_page(source, layout, first)


def read_pages(tiff: tifffile.TiffFile, pages: Iterable[tifffile.TiffPage] | None = None) -> list[Metadata]:
    """Read what the directories of some pages hold; of all in `tiff.pages`, if none are given.

    What is damaged is named in that page's notes.
    """
    source = Bounded(tiff.filehandle)
    order: Literal["<", ">"] = "<" if tiff.byteorder == "<" else ">"
    layout = ByteLayout(order, big=bool(tiff.is_bigtiff))
    found = []
    for page in tiff.pages if pages is None else pages:
        try:
            found.append(checked(_read_page(source, layout, ifd.read_directory(source, layout, page.offset))))
        except Exception as error:  # damage to what a page says is no reason to lose its picture
            found.append(Metadata(notes=(f"TIFF: {error}",)))
    return found


def _read_page(source: Bounded, layout: ByteLayout, page: Directory) -> Metadata:
    tags, notes = exif.collect(source, layout, page)
    blobs = {code: _blob(source, layout, page, code, notes) for code in _BLOBS}
    iptc, others, damages = photoshop.divide(blobs[PHOTOSHOP] or b"")
    block = ifd.build(layout.order, tags) if any(tags.values()) else None
    return Metadata(
        exif=block,
        xmp=(blobs[XMP] or b"").strip(b"\0") or None,
        iptc=_iptc(blobs[IPTC]) or iptc,
        photoshop=others,
        icc=blobs[ICC],
        density=exif.density(block) if block else None,
        notes=(*notes, *damages),
    )


def _blob(source: Bounded, layout: ByteLayout, page: Directory, code: int, notes: list[str]) -> bytes | None:
    entry = page.find(code)
    if entry is None:
        return None
    try:
        return ifd.read_tag(source, layout, entry).data
    except DamagedError as error:
        notes.append(f"TIFF tag {code} is damaged: {error}")
        return None


def _iptc(data: bytes | None) -> bytes | None:
    """Some writers declare the records as LONGs and swap their bytes with the file's."""
    if data and not data.startswith(photoshop.IPTC_MARKER) and data[3:4] == photoshop.IPTC_MARKER:
        count = len(data) // 4
        return struct.pack(f">{count}I", *struct.unpack(f"<{count}I", data[: 4 * count])).rstrip(b"\0")
    return data


# --- writing ---------------------------------------------------------------------------------------------------------


def embed(data: bytes, metadata: Metadata) -> bytes:
    """Replace all metadata of the first page of an encoded TIFF; raises DamagedError if it is damaged."""
    file = io.BytesIO(data)
    embed_pages(file, [metadata])
    return file.getvalue()


def embed_pages(file: BinaryIO, pages: Sequence[Metadata]) -> None:
    """Replace all metadata of the pages of an encoded TIFF or BigTIFF, in place.

    The file grows by a new directory for each page; pixels are neither read nor moved.

    Args:
        file: open for reading and writing, with the pages that TIFF's chain of directories has.
        pages: of the first pages, in order; pages beyond them stay as they are.

    Raises:
        DamagedError: if the file is damaged, has fewer pages, or is no BigTIFF and would pass 4 GiB.
    """
    source = Bounded(file)
    layout, found = ifd.chain(source)
    if len(pages) > len(found):
        raise DamagedError(f"the TIFF has {len(found)} pages, not {len(pages)}")
    link = found[0][0]
    for (_, at), metadata in zip(found, pages, strict=False):
        link = _replace_page(file, layout, link, at, metadata)


def _replace_page(file: BinaryIO, layout: ByteLayout, link: int, at: int, metadata: Metadata) -> int:
    """Append a new directory for the page at `at`, and let `link` point to it; returns where its own link is."""
    page = ifd.read_directory(Bounded(file), layout, at)
    tags = _tags(metadata, layout)
    replaced = _REPLACED if any(tag.code == exif.X_RESOLUTION for tag in tags[0]) else _REPLACED - _RESOLUTION
    old = [entry for entry in page.entries if entry.code not in replaced]
    kept = [layout.entry.pack(entry.code, entry.kind, entry.count, entry.field) for entry in old]
    end = file.seek(0, io.SEEK_END)
    end += file.write(b"\0" * (-end % 8))
    try:
        written = ifd.place(layout, tags, end, kept=kept, following=page.next)
    except struct.error as error:  # an offset has no more than 32 bits
        raise DamagedError("there is no room for the metadata below 4 GiB: write a BigTIFF") from error
    file.write(written)
    file.seek(link)
    file.write(layout.offset.pack(end))
    (count,) = layout.length.unpack_from(written)
    return end + layout.length.size + count * layout.entry.size


_RESOLUTION = {exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT}  # a TIFF must have them
_REPLACED = exif.DESCRIPTIVE | {*_BLOBS, *ifd.POINTERS}


def _tags(metadata: Metadata, layout: ByteLayout) -> Tags:
    """The tags and directories of a page, in the byte order of the file."""
    origin, tags, _ = exif.tags(metadata.exif) if metadata.exif else (layout, {}, [])
    swapped = {key: [tag.swapped(origin.order, layout.order) for tag in group] for key, group in tags.items()}
    own = {tag.code: tag for tag in swapped.get(0, [])}
    for tag in exif.density_tags(metadata.density, layout.order):
        own[tag.code] = tag
    if metadata.orientation != 1:
        own[exif.ORIENTATION] = Tag(exif.ORIENTATION, ifd.SHORT, struct.pack(layout.order + "H", metadata.orientation))
    blobs = (
        (XMP, ifd.BYTE, metadata.xmp),
        (IPTC, ifd.UNDEFINED, metadata.iptc),
        (PHOTOSHOP, ifd.BYTE, metadata.photoshop),
        (ICC, ifd.UNDEFINED, metadata.icc),
    )
    for code, kind, data in blobs:
        if data:
            own[code] = Tag(code, kind, data)
    return {**swapped, 0: list(own.values())}
