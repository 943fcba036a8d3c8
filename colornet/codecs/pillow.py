"""Decoding with Pillow, free of the switches that it has for the whole process: here none is set, and none counts.

`Image.open` bounds the pixels by `MAX_IMAGE_PIXELS`; its format classes, which are used here, leave that to
`limits.check_size`. And `LOAD_TRUNCATED_IMAGES`, whoever sets it, would let what is cut short pass as whole.
"""

import io

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from colornet.formats import Format

_END_OF_IMAGE = b"\xff\xd9"


def open_bmp(data: bytes) -> ImageFile.ImageFile:
    """Open a BMP. To load it raises OSError if it is cut short."""
    return BmpImageFile(_Whole(data))


def open_jpeg(data: bytes) -> ImageFile.ImageFile:
    """Open a JPEG; of an MPO, which is several JPEGs in one file, the first. To load it raises as `open_bmp` says."""
    return JpegImageFile(_Whole(data))


def open_damaged(data: bytes, format: Format) -> ImageFile.ImageFile:
    """Open a file of any format, to be loaded by `load_what_is_there`; raises what Pillow raises."""
    # At its end libjpeg lets go of the rows that it has in hand.
    return _CLASSES[format](io.BytesIO(data + _END_OF_IMAGE if format == "jpeg" else data))


def load_what_is_there(image: ImageFile.ImageFile) -> None:
    """Decode as far as it goes; what is missing is black, or what the decoder makes of it.

    Raises:
        OSError: if a TIFF that libtiff decodes is damaged: nobody knows then how far it came.
    """
    try:
        image.load()
    except (OSError, SyntaxError):
        if isinstance(image, TiffImageFile) and image.use_load_libtiff:
            raise
        image.tile = []  # nothing is left to be decoded: what has been is in the picture
        if isinstance(image, TiffImageFile):
            image.load_end()  # turns it upright, which its size says that it is


class _Whole(io.BytesIO):
    """Bytes that must suffice: to read on at their end is an error."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and size != 0:
            raise OSError("image file is truncated")
        return data


class _TiffImageFile(TiffImageFile):
    """The class that bounds pixels in loading too."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        super().load_prepare()


_CLASSES: dict[Format, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "tiff": _TiffImageFile,
    "jp2": Jpeg2KImageFile,
    "j2k": Jpeg2KImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
}
