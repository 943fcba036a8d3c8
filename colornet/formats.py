"""What the formats are called: in settings and the ledger, in storage, and in file names."""

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "jp2": "image/jp2",
    "j2k": "image/j2c",
    "webp": "image/webp",
    "bmp": "image/bmp",
}
"""Format names and their media types."""

EXTENSIONS = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "jp2": ".jp2", "webp": ".webp", "bmp": ".bmp"}
"""Format names and the endings that keys get which change their format."""

DEEP = ("png", "tiff", "jp2", "j2k")
"""Formats that hold 16 bits a channel."""
