"""From a file to a training photograph, or to the reason why it is rejected.

The files are not trusted. Only a short list of formats is decoded, none of which runs programs; the header's number of
pixels is checked before anything is decoded; and whatever a decoder raises becomes the reason of a rejection.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError

from colornet.color import lab
from colornet.color.chroma import NEARLY_GRAY_CHROMA
from colornet.errors import ColornetError, one_line
from colornet.settings import Field, settings

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "BMP")
"""Pillow's names of the formats that are read; of a file with several pictures the first is read."""

UNREADABLE = "unreadable"
"""Category of files that are not a picture, or a damaged one."""
MAX_PIXELS = 2 * 89_478_485
"""Pillow refuses to open pictures with more pixels."""

BLACK_AND_WHITE_CHROMA = 1.0
"""Mean CIE-LAB chroma below which a picture has no colour at all, whatever its form: what JPEG leaves of gray."""
JPEG_QUALITY = 95

_CHROMA_SIDE = 128
_ORIENTATION = 0x0112
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the transposition that undoes it; all others are upright."""


class RejectedError(ColornetError):
    """A file cannot be a training photograph. The message is `category: details`."""


@settings
class Screening:
    """Which photographs are kept, and at what size."""

    short_side: Annotated[int, Field(ge=16)] = 512
    """Reduce photographs whose shorter side is longer than this, in pixels."""
    min_side: Annotated[int, Field(ge=1)] = 128
    """Reject photographs whose shorter side is shorter than this, in pixels."""
    min_chroma: Annotated[float, Field(ge=0, lt=128)] = NEARLY_GRAY_CHROMA
    """Reject photographs whose mean CIE-LAB chroma is below this: gray, or nearly. Most colour photographs
    have 8 to 40."""
    max_pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS)] = 100_000_000
    """Reject pictures with more pixels than this, according to their header, before they are decoded."""


@dataclass(frozen=True)
class Photograph:
    """A picture fit for training."""

    image: bytes
    """Encoded: a JPEG for photographs; sRGB, upright."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    gray: str | None = None
    """Why it would be rejected as nearly gray; None if it would not be."""


def examine(data: bytes, screening: Screening) -> Photograph:
    """Make a training photograph of a file's bytes.

    Orientation and colour profile are applied, transparent pixels are composed with white, the photograph is reduced to
    a shorter side of `screening.short_side`, and encoded as JPEG of quality 95 without chroma subsampling. A JPEG that
    needs none of this is kept byte for byte.

    Args:
        data: an encoded picture in one of `FORMATS`.
        screening: which photographs are kept, and at what size.

    Returns:
        The photograph; a nearly gray one, too, which says so.

    Raises:
        RejectedError: for anything that is wrong with the file; its category is unreadable, too large, too small, or
            gray for a black-and-white one.
    """
    if not data:
        raise RejectedError(f"{UNREADABLE}: the file is empty")
    Image.init()  # with a list of formats, Pillow looks among those only that it has loaded
    try:
        # Pillow warns of what is near its own bound; ours is lower and is an error.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                return _examine(data, picture, screening)
    except RejectedError:
        raise
    except UnidentifiedImageError as error:
        raise RejectedError(f"{UNREADABLE}: not a picture in a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise RejectedError(f"too large: {one_line(error)}") from error
    except Exception as error:  # decoders raise OSError, ValueError, TypeError, SyntaxError, struct.error and more
        raise RejectedError(f"{UNREADABLE}: {one_line(error)}") from error


def mean_chroma(picture: Image.Image) -> float:
    """Return the mean CIE-LAB chroma (D65), the length of (a*, b*), of an RGB picture.

    It is measured on a copy of at most 128 pixels a side, which averages out the chroma noise of JPEG in gray pictures.
    """
    small = picture.copy()
    small.thumbnail((_CHROMA_SIDE, _CHROMA_SIDE), Image.Resampling.BOX)
    rgb = torch.from_numpy(np.array(small)).permute(2, 0, 1).to(torch.float32) / 255.0
    return float(torch.linalg.vector_norm(lab.rgb_to_lab(rgb)[1:], dim=0).mean())


def _examine(data: bytes, picture: Image.Image, screening: Screening) -> Photograph:
    width, height = picture.size
    if width * height > screening.max_pixels:
        raise RejectedError(f"too large: {width}×{height} pixels, the bound is {screening.max_pixels}")
    if min(width, height) < screening.min_side:
        raise RejectedError(f"too small: {width}×{height} pixels, the shorter side is under {screening.min_side}")
    if picture.mode in _GRAY_MODES:
        picture.load()  # so that a damaged file is rejected as such
        raise RejectedError("gray: it has no colour channels")
    orientation = _orientation(picture)
    fits = min(width, height) <= screening.short_side
    if picture.format == "JPEG" and picture.mode == "RGB" and orientation == 1 and fits and not _profile(picture):
        return Photograph(data, width, height, _nearly_gray(picture, screening))

    size = _reduced(width, height, screening.short_side)
    # JPEG can be decoded at a fraction of its size; twice what is needed leaves the last step to the better filter.
    picture.draft(picture.mode, (2 * size[0], 2 * size[1]))
    upright = _to_srgb(picture)
    if not fits:
        upright = upright.resize(size, Image.Resampling.LANCZOS)
    gray = _nearly_gray(upright, screening)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    return Photograph(_encode(upright), *upright.size, gray)


def _reduced(width: int, height: int, short_side: int) -> tuple[int, int]:
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _nearly_gray(picture: Image.Image, screening: Screening) -> str | None:
    """Return why a nearly gray picture is to be rejected, or None; raise RejectedError for a black-and-white one."""
    chroma = mean_chroma(picture)
    if chroma >= screening.min_chroma:
        return None
    reason = f"gray: mean chroma {chroma:.1f}, the least is {screening.min_chroma:g}"
    if chroma < BLACK_AND_WHITE_CHROMA:
        raise RejectedError(reason)
    return reason


def _orientation(picture: Image.Image) -> int:
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata is no reason to refuse a good picture
        return 1
    return found if found in _UPRIGHT else 1


def _profile(picture: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """Return the embedded colour profile, or None if there is none that can be read, or it is sRGB."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        return None if "srgb" in ImageCms.getProfileDescription(profile).lower() else profile
    except Exception:  # no profile, or a damaged one, which says nothing
        return None


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Decode to RGB in sRGB, with what is transparent on white."""
    profile = _profile(picture)
    picture.load()
    if picture.mode == "PA" or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LAB;A") else None
    if alpha is not None or picture.mode in ("P", "RGBX", "RGBa", "YCbCr", "HSV"):
        picture = picture.convert("RGB")
    converted = _apply(profile, picture) if profile else None
    rgb = converted or picture.convert("RGB")
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return rgb


def _apply(profile: ImageCms.ImageCmsProfile, picture: Image.Image) -> Image.Image | None:
    """Convert by the profile; None if it does not fit the picture."""
    try:
        return ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        return None


def _encode(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return target.getvalue()
