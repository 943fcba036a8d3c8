"""What a file says about itself: read from every container, and written into every container.

    source = metadata.read(data, "jpeg")
    output = metadata.embed(encoded, "jpeg", metadata.for_output(source, "jpeg"))

A TIFF has metadata for each page: `read_pages` and `embed_pages`.
"""

from collections.abc import Callable

from colornet.errors import ScanError, SettingsError, one_line
from colornet.formats import Format
from colornet.metadata.check import checked
from colornet.metadata.containers import bmp, jp2, jpeg, png, tiff, webp
from colornet.metadata.containers.tiff import embed_pages, read_pages
from colornet.metadata.ifd import DamagedError
from colornet.metadata.output import for_output
from colornet.metadata.record import Density, Metadata

__all__ = ["Density", "Metadata", "embed", "embed_pages", "for_output", "read", "read_pages"]

_READERS: dict[Format, Callable[[bytes], Metadata]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "tiff": tiff.read,
    "jp2": jp2.read,
    "j2k": jp2.read,
    "webp": webp.read,
    "bmp": bmp.read,
}
_WRITERS: dict[Format, Callable[[bytes, Metadata], bytes]] = {
    "jpeg": jpeg.embed,
    "png": png.embed,
    "tiff": tiff.embed,
    "jp2": jp2.embed,
    "j2k": jp2.embed,
    "webp": webp.embed,
    "bmp": bmp.embed,
}


def read(data: bytes, format: Format) -> Metadata:
    """Read what a file says about itself; of a TIFF, what its first page says.

    Args:
        data: an encoded picture. Damage to it is no error: what cannot be read is dropped, and named in the notes.
        format: "jpeg", "png", "tiff", "jp2", "j2k" (which holds none), "webp" or "bmp".

    Raises:
        SettingsError: if there is no such format.
    """
    reader = _READERS.get(format)
    if reader is None:
        raise SettingsError(f"no format is called {format!r}; there are: {', '.join(_READERS)}")
    try:
        return checked(reader(data))
    except Exception as error:  # what a file says of itself, whoever wrote it, is no reason to lose its picture
        return Metadata(notes=(f"metadata cannot be read: {one_line(error)}",))


def embed(data: bytes, format: Format, metadata: Metadata) -> bytes:
    """Write metadata into an encoded picture, in place of what it has; of a TIFF, into its first page.

    Args:
        data: an encoded picture. Its pixels are not decoded.
        format: "jpeg", "png", "tiff", "jp2", "j2k", "webp" or "bmp".
        metadata: as `for_output` makes it for this format: without what the format has no place for.

    Raises:
        ScanError: if the encoded picture is damaged, or a part is too large for the format.
        SettingsError: if there is no such format.
    """
    writer = _WRITERS.get(format)
    if writer is None:
        raise SettingsError(f"no format is called {format!r}; there are: {', '.join(_WRITERS)}")
    try:
        return writer(data, metadata)
    except DamagedError as error:
        raise ScanError(f"cannot write metadata: {error}") from error
