"""From a file that somebody calls a picture to a training photograph, or to the reason why not.

Decoders see bytes from outside here. The format is one of a short list (none that runs programs), the pixel count is
bounded by the header before anything is decoded, and whatever a decoder raises becomes a reason.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError

from colornet.color import lab
from colornet.color.chroma import NEARLY_GRAY_CHROMA
from colornet.errors import ColornetError, SettingsError, one_line

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "BMP")
"""Pillow's names of the formats that are read; of several pictures in one file the first is taken."""

UNREADABLE = "unreadable"
"""Category of files that are no picture, or a damaged one."""
MAX_PIXELS = 2 * 89_478_485
"""Pillow itself refuses to open pictures of more pixels."""

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
"""EXIF orientation to what undoes it; 1 and all that is not here is upright."""


class RejectedError(ColornetError):
    """A file does not become a training photograph. The message is `category: details`."""


@dataclass(frozen=True, kw_only=True)
class Screening:
    """What photographs are taken, and how large they are kept."""

    short_side: int = 512
    """Reduce photographs whose shorter side is longer than this, in pixels."""
    min_side: int = 128
    """Reject photographs whose shorter side is shorter than this, in pixels."""
    min_chroma: float = NEARLY_GRAY_CHROMA
    """Reject photographs whose mean CIE-LAB chroma is below this: gray, or nearly. Most colour photographs
    have 8 to 40."""
    max_pixels: int = 100_000_000
    """Reject pictures of more pixels than this by their header, before they are decoded."""

    def __post_init__(self) -> None:
        """Check the values; raises `SettingsError` naming the field."""
        if self.short_side < 16:
            raise SettingsError(f"short-side must be at least 16, not {self.short_side}")
        if self.min_side < 1:
            raise SettingsError(f"min-side must be at least 1, not {self.min_side}")
        if not 0 <= self.min_chroma < 128:
            raise SettingsError(f"min-chroma must be from 0 to 128, not {self.min_chroma}")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise SettingsError(f"max-pixels must be from 1 to {MAX_PIXELS}, not {self.max_pixels}")


@dataclass(frozen=True)
class Photograph:
    """A picture fit for training."""

    image: bytes
    """Encoded: a JPEG for photographs; sRGB, upright."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def examine(data: bytes, screening: Screening) -> Photograph:
    """Make a training photograph of a file's bytes.

    Orientation and colour profile are applied, what is transparent is laid on white, the short side is brought down to
    `screening.short_side`, and the result is a JPEG of quality 95 without chroma subsampling. A JPEG to which nothing
    of this would be done is kept byte for byte.

    Args:
        data: an encoded picture in one of `FORMATS`.
        screening: what is taken.

    Returns:
        The photograph.

    Raises:
        RejectedError: whatever is wrong with the bytes; the category is unreadable, too large, too small or gray.
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
    """Return the mean CIE-LAB chroma (D65), the length of (a*, b*), of an RGB picture, measured on a small copy.

    A copy of at most 128 pixels a side averages the noise away that JPEG puts into the chroma of gray pictures.
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
        picture.load()  # a damaged file is called so, whatever its mode
        raise RejectedError("gray: it has no colour channels")
    orientation = _orientation(picture)
    fits = min(width, height) <= screening.short_side
    if picture.format == "JPEG" and picture.mode == "RGB" and orientation == 1 and fits and not _profile(picture):
        _require_colour(picture, screening)
        return Photograph(data, width, height)

    size = _reduced(width, height, screening.short_side)
    # JPEG can be decoded at a fraction of its size; twice what is needed leaves the last step to the better filter.
    picture.draft(picture.mode, (2 * size[0], 2 * size[1]))
    upright = _to_srgb(picture)
    if not fits:
        upright = upright.resize(size, Image.Resampling.LANCZOS)
    _require_colour(upright, screening)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    return Photograph(_encode(upright), *upright.size)


def _reduced(width: int, height: int, short_side: int) -> tuple[int, int]:
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _require_colour(picture: Image.Image, screening: Screening) -> None:
    chroma = mean_chroma(picture)
    if chroma < screening.min_chroma:
        raise RejectedError(f"gray: mean chroma {chroma:.1f}, the least is {screening.min_chroma:g}")


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
