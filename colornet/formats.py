"""What the formats are called: in settings and the ledger, in storage, and in file names."""

from collections.abc import Mapping
from typing import Literal, get_args

Format = Literal["jpeg", "png", "tiff", "jp2", "j2k", "webp", "bmp"]
"""A format that is read and written, as it is called in settings and in the ledger; j2k is bare JPEG 2000."""
FORMATS: tuple[Format, ...] = get_args(Format)

MEDIA_TYPES: Mapping[Format, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "jp2": "image/jp2",
    "j2k": "image/j2c",
    "webp": "image/webp",
    "bmp": "image/bmp",
}
"""Format names and their media types."""

EXTENSIONS: Mapping[Format, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "tiff": ".tif",
    "jp2": ".jp2",
    "webp": ".webp",
    "bmp": ".bmp",
}
"""Format names and the endings that keys get which change their format."""

DEEP: tuple[Format, ...] = ("png", "tiff", "jp2", "j2k")
"""Formats that hold 16 bits a channel."""
