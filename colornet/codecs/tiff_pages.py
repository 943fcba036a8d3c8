"""Which directories of a TIFF hold pictures, and which hold copies of them, masks, or what no picture is yet.

A directory says by NewSubfileType what it holds (TIFF 6.0, page 36). It may have directories below it, in SubIFDs: the
levels of a pyramid; or, in TIFF/EP (ISO 12234-2), the master of which the directory itself is the thumbnail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import tifffile
from tifffile import PHOTOMETRIC, TiffPage

from colornet.errors import ScanError

MAX_PAGES = 10_000
_DNG_VERSION, _MAKE = 50706, 271
_CANON = b"CR"
"""Behind the header of a CR2, whose directories look like those of any TIFF."""
_RAW = "camera raw ({}) is not supported: develop it into a TIFF first"
_MOSAICS = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)


@dataclass(frozen=True)
class Picture:
    """A picture at its full resolution."""

    page: TiffPage
    """The directory of its pixels."""
    described: TiffPage
    """The directory in the file's chain that tells of it: the same, or the thumbnail's that the master lies below."""


def pictures(file: tifffile.TiffFile) -> tuple[list[Picture], list[str]]:
    """Find the pictures of a file, and note what else it holds.

    Raises:
        ScanError: if there is none, too many, or it is camera raw.
    """
    file.filehandle.seek(8)
    if file.filehandle.read(2) == _CANON:
        raise ScanError(_RAW.format("CR2"))
    chain = list(_chain(file))
    beneath = sum(len(page.subifds or ()) for page in chain)
    if beneath > MAX_PAGES:
        raise ScanError(f"TIFF with {beneath} directories below its pages, more than the bound of {MAX_PAGES}")
    below = [_below(page) for page in chain]
    for page in (*chain, *(sub for subs in below for sub in subs)):
        _refuse_raw(page, file)
    found: list[Picture] = []
    reduced, masks = [], 0
    for page, subs in zip(chain, below, strict=True):
        plain = [sub for sub in subs if not (sub.is_reduced or _is_mask(sub))]
        master = max((sub for sub in plain if _is_master(sub, page)), key=_pixels, default=None)
        masks += _is_mask(page) + sum(map(_is_mask, subs))
        if _is_mask(page):
            continue
        if master is None and page.is_reduced:
            reduced.append(page)
            continue
        found.append(Picture(master or page, page))
        reduced += [copy for copy in (page, *subs) if copy is not found[-1].page and not _is_mask(copy)]
    if not found:
        found, reduced = [Picture(page, page) for page in reduced], []
    if not found:
        raise ScanError("TIFF that holds nothing but masks" if masks else "damaged TIFF: it has no page")
    return found, _notes(len(reduced), masks)


def _notes(reduced: int, masks: int) -> list[str]:
    notes = []
    if reduced:
        notes.append(f"{reduced} reduced or further versions left out")
    if masks:
        notes.append(f"{masks} masks or infrared pages left out")
    return notes


def _chain(file: tifffile.TiffFile) -> Iterator[TiffPage]:
    if len(file.pages) > MAX_PAGES:
        raise ScanError(f"TIFF of {len(file.pages)} pages, more than the bound of {MAX_PAGES}")
    for page in file.pages:
        if not isinstance(page, TiffPage):
            raise ScanError("TIFF pages that cannot be read")
        yield page


def _below(page: TiffPage) -> list[TiffPage]:
    """The directories below a page; they have no further ones that matter."""
    if not page.subifds or page.pages is None:
        return []
    try:
        found = [cast(TiffPage, sub) for sub in page.pages if isinstance(sub, TiffPage)]
    except Exception:  # tifffile raises whatever it stumbles over
        found = []
    if page.is_reduced and len(found) < len(page.subifds):
        raise ScanError("damaged TIFF: what lies below its thumbnail cannot be read")
    return found


def _is_master(sub: TiffPage, page: TiffPage) -> bool:
    """Whether a directory below a page holds the picture of which the page is a small copy, marked as one or not."""
    return page.is_reduced or _pixels(sub) > _pixels(page)


def _is_mask(page: TiffPage) -> bool:
    """Film scanners mark infrared as a transparency mask."""
    return page.is_mask or page.photometric == PHOTOMETRIC.MASK


def _pixels(page: TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _refuse_raw(page: TiffPage, file: tifffile.TiffFile) -> None:
    if _DNG_VERSION in page.tags:
        kind = "DNG"
    elif page.photometric in _MOSAICS:
        make = file.pages.first.tags.get(_MAKE)
        kind = str(make.value).strip() if make else "of an unknown camera"
    else:
        return
    raise ScanError(_RAW.format(kind))
